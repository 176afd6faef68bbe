// Whether anybody may be looking at this tab. A browser gives one host six connections; a tab that nobody has seen for a
// while must not keep one of them, nor ask the server anything.
//
// Events: "away" when the tab has been hidden for a while, "back" when it is seen again after that.

const AFTER = 5000;

class Presence extends EventTarget {
  away = false;
  #timer = 0;

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => this.#look());
    addEventListener("pageshow", () => this.#look());
    this.#look();
  }

  // Resolves when the tab is not away, which may be at once.
  back() {
    if (!this.away) return Promise.resolve();
    return new Promise((resolve) => this.addEventListener("back", resolve, { once: true }));
  }

  #look() {
    clearTimeout(this.#timer);
    if (document.visibilityState !== "visible") {
      if (!this.away) this.#timer = setTimeout(() => this.#become(true), AFTER);
    } else if (this.away) this.#become(false);
  }

  #become(away) {
    this.away = away;
    this.dispatchEvent(new Event(away ? "away" : "back"));
  }
}

export const presence = new Presence();
