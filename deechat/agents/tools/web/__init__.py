"""The web: `web_fetch` gets a page hop by hop, `page` and the process `reader` make text of it."""
