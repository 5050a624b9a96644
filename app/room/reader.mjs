// Who reads: chosen from the names that the store keeps, or new; Python gives the number that stands in the address.

export class Reader {
  // `ask` tells Python a name; Python answers in `hear`.
  constructor(root, data, { ask, refused }) {
    this.find = (selector) => root.querySelector(selector);
    Object.assign(this, { ask, refused, number: "", listed: "", asked: "", at: 0, changing: false });
    this.input = this.find(".reviewer");
    this.input.maxLength = data.longest.reviewer;
    this.listen();
  }

  // The name that a verdict goes under: the listed one, or what is being typed in its place.
  get name() {
    return this.listed && !this.changing ? this.listed : this.input.value;
  }

  // What Python knows: {number, name, asked, fault}, and the names to choose from.
  hear({ number, name, asked, fault }, names) {
    const list = this.find(".known-readers");
    if (this.names !== names.join("\n")) list.replaceChildren(...names.map((value) => Object.assign(document.createElement("option"), { value })));
    this.names = names.join("\n");
    if (this.asked && asked === this.asked) {
      this.asked = "";
      if (fault) this.refused(fault);
      else this.changing = false;
    }
    if (!this.asked && number !== this.number) this.changing = false;
    Object.assign(this, { number, listed: name });
    this.show();
  }

  show() {
    const known = this.listed !== "" && !this.changing;
    this.find(".as").hidden = !known;
    this.find(".who").hidden = known;
    this.find(".reader-name").textContent = this.listed;
  }

  // Ask again what was asked so long ago that it may have been lost on the way.
  beat(milliseconds) {
    if (this.asked && performance.now() - this.at > milliseconds) this.tell(this.asked);
  }

  tell(name) {
    Object.assign(this, { asked: name, at: performance.now() });
    this.ask(name);
  }

  // Another name than the listed one was typed, or none: then the listed one reads on.
  typed() {
    const name = this.input.value.trim();
    if (!name && this.listed) this.changing = false;
    else if (name) this.tell(name);
    this.show();
  }

  listen() {
    this.find(".change").addEventListener("click", () => {
      this.changing = true;
      this.input.value = "";
      this.show();
      this.input.focus();
    });
    this.input.addEventListener("change", () => this.typed());
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // which would save; a name is said first
      event.stopPropagation();
      this.input.blur(); // and so it is told, where it changed
    });
  }
}
