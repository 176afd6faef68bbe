// What the page has learned about the way to the server. Some proxies keep a response back until it is whole; then streams
// are of no use, and answers are fetched in pieces for as long as the page is open.
//
// Events: "held" when that was noticed.

class Network extends EventTarget {
  held = false;

  hold() {
    if (this.held) return;
    this.held = true;
    this.dispatchEvent(new Event("held"));
  }
}

export const network = new Network();
