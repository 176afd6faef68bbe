"""Names by which people call time zones, beyond those of the IANA database. Keys are in lower case."""

from __future__ import annotations

_CALLED: dict[str, str] = {
    # zone: what else it goes by, parted by commas
    "Asia/Shanghai": "china, beijing, peking, shenzhen, guangzhou, hangzhou, chengdu, nanjing, wuhan, xian, "
    "中国, 北京, 上海, 深圳, 广州, 杭州, 成都, 南京, 武汉, 西安, 重庆, 天津, 苏州, 北京时间",
    "Asia/Hong_Kong": "hongkong, hk, 香港",
    "Asia/Macau": "macao, 澳门",
    "Asia/Taipei": "taiwan, 台北, 臺北, 台湾",
    "Asia/Urumqi": "乌鲁木齐, 新疆",
    "Asia/Tokyo": "japan, osaka, kyoto, jst, 日本, 东京, 東京, 大阪, 京都",
    "Asia/Seoul": "korea, south korea, kst, 韩国, 首尔",
    "Asia/Singapore": "新加坡",
    "Asia/Kuala_Lumpur": "malaysia, 马来西亚, 吉隆坡",
    "Asia/Bangkok": "thailand, 泰国, 曼谷",
    "Asia/Ho_Chi_Minh": "vietnam, hanoi, 越南, 河内, 胡志明市",
    "Asia/Manila": "philippines, 菲律宾, 马尼拉",
    "Asia/Jakarta": "雅加达",
    "Asia/Kolkata": "india, delhi, new delhi, mumbai, bombay, bangalore, bengaluru, chennai, hyderabad, "
    "印度, 新德里, 德里, 孟买",
    "Asia/Karachi": "pakistan, islamabad, lahore, 巴基斯坦",
    "Asia/Dubai": "uae, abu dhabi, 阿联酋, 迪拜",
    "Asia/Riyadh": "saudi arabia, 沙特, 利雅得",
    "Asia/Tehran": "德黑兰, 伊朗",
    "Asia/Jerusalem": "以色列, 耶路撒冷",
    "Europe/Istanbul": "türkiye, ankara, 土耳其, 伊斯坦布尔",
    "Europe/Moscow": "st petersburg, saint petersburg, 莫斯科, 圣彼得堡",
    "Europe/Kyiv": "ukraine, 乌克兰, 基辅",
    "Europe/London": "uk, england, scotland, wales, britain, great britain, united kingdom, edinburgh, manchester, "
    "bst, 英国, 伦敦",
    "Europe/Dublin": "ireland, 爱尔兰, 都柏林",
    "Europe/Lisbon": "里斯本, 葡萄牙",
    "Europe/Madrid": "spain, barcelona, 西班牙, 马德里, 巴塞罗那",
    "Europe/Paris": "france, lyon, 法国, 巴黎",
    "Europe/Brussels": "belgium, 比利时, 布鲁塞尔",
    "Europe/Amsterdam": "netherlands, the netherlands, holland, rotterdam, 荷兰, 阿姆斯特丹",
    "Europe/Berlin": "germany, munich, münchen, hamburg, frankfurt, cologne, köln, stuttgart, "
    "德国, 柏林, 慕尼黑, 法兰克福",
    "Europe/Zurich": "switzerland, geneva, zürich, bern, basel, 瑞士, 苏黎世, 日内瓦",
    "Europe/Vienna": "austria, 奥地利, 维也纳",
    "Europe/Rome": "italy, milan, 意大利, 罗马, 米兰",
    "Europe/Athens": "greece, 希腊, 雅典",
    "Europe/Stockholm": "sweden, 瑞典, 斯德哥尔摩",
    "Europe/Oslo": "norway, 挪威, 奥斯陆",
    "Europe/Copenhagen": "denmark, 丹麦, 哥本哈根",
    "Europe/Helsinki": "finland, 芬兰, 赫尔辛基",
    "Europe/Warsaw": "波兰, 华沙",
    "Europe/Prague": "czechia, 捷克, 布拉格",
    "Africa/Cairo": "埃及, 开罗",
    "Africa/Lagos": "nigeria, 尼日利亚",
    "Africa/Nairobi": "kenya, 肯尼亚, 内罗毕",
    "Africa/Johannesburg": "south africa, cape town, 南非, 开普敦, 约翰内斯堡",
    "America/New_York": "nyc, new york city, boston, washington, washington dc, washington d.c., philadelphia, miami, "
    "atlanta, eastern, et, edt, 纽约, 紐約, 华盛顿, 波士顿, 迈阿密",
    "America/Chicago": "houston, dallas, austin, texas, 芝加哥, 休斯顿, 休斯敦, 达拉斯",
    "America/Denver": "salt lake city, 丹佛",
    "America/Los_Angeles": "la, california, san francisco, seattle, silicon valley, san diego, las vegas, "
    "pacific time, pt, pst, pdt, 洛杉矶, 旧金山, 西雅图, 硅谷, 加州, 拉斯维加斯",
    "America/Anchorage": "alaska, 阿拉斯加",
    "Pacific/Honolulu": "hawaii, 夏威夷, 檀香山",
    "America/Toronto": "ottawa, montreal, 多伦多, 渥太华, 蒙特利尔",
    "America/Vancouver": "温哥华",
    "America/Mexico_City": "墨西哥城",
    "America/Sao_Paulo": "são paulo, rio, rio de janeiro, brasilia, 圣保罗, 里约热内卢, 巴西利亚",
    "America/Argentina/Buenos_Aires": "argentina, 阿根廷, 布宜诺斯艾利斯",
    "America/Lima": "peru, 秘鲁, 利马",
    "America/Bogota": "colombia, bogotá, 哥伦比亚, 波哥大",
    "Australia/Sydney": "canberra, aest, 悉尼, 堪培拉",
    "Australia/Melbourne": "墨尔本",
    "Australia/Brisbane": "布里斯班",
    "Australia/Perth": "珀斯",
    "Pacific/Auckland": "new zealand, wellington, 新西兰, 奥克兰, 惠灵顿",
    "UTC": "z, world time, 世界时",
}

PLACES: dict[str, str] = {name.strip(): zone for zone, names in _CALLED.items() for name in names.split(",")}
