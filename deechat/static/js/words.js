// Every string of the page, English and Chinese side by side, and the choice between them.
// `{name}` in a string is filled from the parameters. Nothing else in the page holds words for a person.

export const LANGUAGES = ["en", "zh"];

// key: [English, 中文]
export const WORDS = {
  appName: ["DeeChat", "DeeChat"],
  skipToComposer: ["Skip to the message field", "跳到输入框"],

  // Sidebar
  newChat: ["New chat", "新对话"],
  chats: ["Chats", "对话"],
  noChats: ["Your chats will be listed here.", "您的对话会显示在这里。"],
  unnamed: ["Untitled chat", "未命名的对话"],
  workspace: ["Workspace", "工作区"],
  rename: ["Rename", "重命名"],
  renameChat: ["Rename “{name}”", "重命名“{name}”"],
  chatName: ["Name of the chat", "对话名称"],
  delete: ["Delete", "删除"],
  deleteChat: ["Delete “{name}”", "删除“{name}”"],
  deleteTitle: ["Delete this chat?", "删除这个对话？"],
  deleteBody: ["“{name}” and all its messages will be gone for good.", "“{name}”及其全部消息将被永久删除。"],
  cancel: ["Cancel", "取消"],
  openSidebar: ["Show the list of chats", "显示对话列表"],
  closeSidebar: ["Hide the list of chats", "隐藏对话列表"],
  settings: ["Workspace settings", "工作区设置"],
  today: ["Today", "今天"],
  yesterday: ["Yesterday", "昨天"],
  lastWeek: ["Previous 7 days", "过去 7 天"],
  older: ["Older", "更早"],

  // Empty page
  hello: ["What can I help with?", "有什么可以帮您？"],
  example1: ["What is 17% of 2,340?", "2340 的 17% 是多少？"],
  example2: ["What time is it in Tokyo?", "东京现在几点？"],
  example3: ["What can you do?", "您能做什么？"],
  offlineTitle: ["No model is connected.", "尚未连接模型。"],
  offlineHint: [
    "I can calculate and tell the time. For more, start Ollama on this computer, or restart the server with OPENAI_API_KEY.",
    "目前我会计算和报时。要使用更多功能，请在本机启动 Ollama，或设置 OPENAI_API_KEY 后重启服务器。",
  ],

  // Composer
  messageLabel: ["Message", "消息"],
  placeholder: ["Ask anything", "输入您的问题"],
  placeholderRunning: ["Write your next message", "写下您的下一条消息"],
  send: ["Send", "发送"],
  stop: ["Stop", "停止"],
  stopping: ["Stopping …", "正在停止 …"],
  keys: ["Enter to send, Shift + Enter for a new line", "Enter 发送，Shift + Enter 换行"],
  sendFailed: ["Your message was not sent.", "消息未能发送。"],
  dismiss: ["Dismiss", "关闭"],
  runActive: [
    "An answer is still being written in this chat. Your text is kept here.",
    "这个对话的回答还在生成，您的文字保留在这里。",
  ],

  // Messages
  you: ["You", "您"],
  assistant: ["Assistant", "助手"],
  conversation: ["Conversation", "对话内容"],
  jumpToLatest: ["Jump to the latest", "跳到最新"],
  loadOlder: ["Show earlier messages", "显示更早的消息"],
  copy: ["Copy", "复制"],
  copied: ["Copied", "已复制"],
  copyAnswer: ["Copy the answer", "复制回答"],
  copyCode: ["Copy the code", "复制代码"],
  copyFailed: ["Copying did not work in this browser.", "此浏览器无法复制。"],
  tryAgain: ["Try again", "重试"],
  code: ["Code", "代码"],
  answeredBy: ["Answered by {model}", "由 {model} 回答"],
  tokens: ["{tokens} tokens in {seconds}", "{tokens} 个词元，用时 {seconds}"],
  tokensEstimated: ["about {tokens} tokens in {seconds}", "约 {tokens} 个词元，用时 {seconds}"],
  seconds: ["{n} s", "{n} 秒"],
  milliseconds: ["{n} ms", "{n} 毫秒"],

  // What the agent is doing
  connecting: ["Connecting …", "正在连接 …"],
  working: ["Working …", "正在处理 …"],
  writing: ["Writing …", "正在书写 …"],
  reconnecting: ["Connection lost, reconnecting …", "连接已断开，正在重新连接 …"],
  answerDone: ["The answer is complete.", "回答已完成。"],
  thinkingNow: ["Thinking …", "正在思考 …"],
  thought: ["Thought process", "思考过程"],
  thoughtFor: ["Thought for {n} s", "思考了 {n} 秒"],
  toolRunning: ["running", "运行中"],
  toolError: ["failed", "失败"],
  toolCancelled: ["not finished", "未完成"],
  toolArguments: ["Arguments", "参数"],
  toolNoArguments: ["none", "无"],
  toolResult: ["Result", "结果"],
  toolNoResult: ["No result.", "没有结果。"],
  approvalOpen: ["The agent asks to use {name}", "助手请求使用 {name}"],
  approvalYes: ["{name} was allowed", "已允许 {name}"],
  approvalNo: ["{name} was refused", "已拒绝 {name}"],
  questionOpen: ["The agent asks", "助手提问"],
  questionAnswered: ["Answered", "已回答"],
  requestVoid: ["No longer open", "已失效"],
  steeredLabel: ["Added while the agent was working", "在助手工作时补充"],

  // Statuses that the server sends as codes
  "status.thinking": ["Asking {model} …", "正在询问 {model} …"],
  "status.tool_call": ["Using {name} …", "正在使用 {name} …"],
  "status.model_retry": [
    "The model server did not answer ({why}); trying again in {seconds} s ({attempt} of {attempts})",
    "模型服务器没有应答（{why}），{seconds} 秒后重试（第 {attempt} 次，共 {attempts} 次）",
  ],
  "status.tools_refused": [
    "{model} takes no tools; asking again without them",
    "{model} 不支持工具，正在不带工具重新询问",
  ],
  "status.tool_rounds_used_up": [
    "That was the last of {rounds} rounds of tool calls; asking for the answer now",
    "{rounds} 轮工具调用已用完，现在请求最终回答",
  ],
  "status.tool_call_repeated": [
    "{name} was called with the same arguments {times} times in a row; asking for the answer now",
    "{name} 连续 {times} 次以相同参数被调用，现在请求最终回答",
  ],

  // How an answer ended, and why
  stopped: ["You stopped this answer.", "您已停止这个回答。"],
  "error.failed": ["The answer could not be finished", "回答未能完成"],
  "error.model_auth": ["The model server refused the key", "模型服务器拒绝了密钥"],
  "error.model_not_found": ["The model was not found", "找不到该模型"],
  "error.model_rate_limited": ["The model server is busy", "模型服务器繁忙"],
  "error.context_length": ["The conversation is too long for this model", "对话超出了模型的长度限制"],
  "error.model_unreachable": ["The model server cannot be reached", "无法连接模型服务器"],
  "error.model_timeout": ["The model server was silent for too long", "模型服务器长时间没有响应"],
  "error.model_error": ["The model server reported an error", "模型服务器报告了错误"],
  "error.model_protocol": ["The model server's answer broke off", "模型服务器的回答中断"],
  "error.answer_too_long": ["The answer became too long", "回答过长"],
  "error.internal_error": ["Something went wrong on the server", "服务器内部出错"],
  "error.storage_failed": ["The answer could not be saved", "回答无法保存"],
  "error.interrupted": ["The server was restarted during this answer", "生成回答时服务器重启"],
  interruptedText: [
    "What it said is kept. Ask it to go on, or try again to start this answer anew.",
    "已生成的内容已保留。可以让它继续，或重试以重新回答。",
  ],

  // Faults of the page's own requests
  networkError: ["The server cannot be reached. Is it running?", "无法连接服务器，它在运行吗？"],
  unknownError: ["The server answered with status {status}.", "服务器返回状态 {status}。"],
  threadGone: ["This chat does not exist any more.", "这个对话已不存在。"],
  retry: ["Try again", "重试"],
  notAllowed: ["This page is not open to you", "您无法访问此页面"],

  // Log-in
  logIn: ["Log in", "登录"],
  logInHint: ["This server asks for its password.", "此服务器需要密码。"],
  password: ["Password", "密码"],
  wrongPassword: ["That is not the password.", "密码不正确。"],

  // Settings
  name: ["Name", "名称"],
  systemPrompt: ["Instructions", "系统提示词"],
  systemPromptHint: ["What the assistant is told before every conversation.", "每次对话前告诉助手的内容。"],
  model: ["Model", "模型"],
  modelDefault: ["The server's default ({model})", "服务器默认（{model}）"],
  modelNone: ["The server's default", "服务器默认"],
  mode: ["Mode", "模式"],
  modeAgent: ["Agent, with tools", "智能体，可用工具"],
  modeChat: ["Chat, no tools", "聊天，不用工具"],
  modeQuery: ["Query, from documents", "查询，仅依据文档"],
  temperature: ["Temperature", "温度"],
  temperatureHint: ["0 to 2, or empty", "0 到 2，或留空"],
  save: ["Save", "保存"],
  saved: ["Saved.", "已保存。"],
  newWorkspace: ["New workspace", "新建工作区"],
  newWorkspaceName: ["New workspace {n}", "新工作区 {n}"],
};

function choose(wanted) {
  for (const tag of wanted) {
    const primary = tag.toLowerCase().split("-")[0];
    if (LANGUAGES.includes(primary)) return primary;
  }
  return LANGUAGES[0];
}

export const language = choose(globalThis.navigator?.languages ?? []);
const column = LANGUAGES.indexOf(language);

// Gives the words of a key, filled; an unknown key is a mistake of ours and gives the key itself.
export function t(key, params = {}) {
  const words = WORDS[key]?.[column] ?? key;
  return words.replace(/\{(\w+)\}/g, (whole, name) => (params[name] ?? whole).toString());
}

export function knows(key) {
  return Object.hasOwn(WORDS, key);
}

// A status in the page's language where its code is known, else in the server's words.
export function statusWords({ code, params, text }) {
  const key = `status.${code}`;
  return code && knows(key) ? t(key, params ?? {}) : text;
}

export function errorTitle(code) {
  const key = `error.${code}`;
  return t(code && knows(key) ? key : "error.failed");
}

// What there is to say below the title: the server's own words, unless the page has better ones in its language.
export function errorText(code, words) {
  return code === "interrupted" ? t("interruptedText") : words;
}

// Seconds as a person reads them: 340 ms, 2.4 s, 17 s.
export function duration(seconds) {
  if (seconds < 0.9995) return t("milliseconds", { n: Math.max(1, Math.round(seconds * 1000)) });
  return t("seconds", { n: seconds < 9.95 ? seconds.toFixed(1) : Math.round(seconds) });
}
