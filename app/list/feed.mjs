// The columns of the worklist and what was said of it, over HTTP; columns are fetched once and stay in this page.

export class Feed {
  constructor(address) {
    this.address = address;
    this.kept = new Map(); // fingerprint → promise of columns
    this.said = new Map(); // reader → {last, updates}: what is known already
  }

  columns(hash) {
    if (!this.kept.has(hash)) {
      const wanted = this.asked(`list/columns/${hash}`);
      this.kept.set(hash, wanted);
      wanted.catch(() => this.kept.delete(hash));
    }
    return this.kept.get(hash);
  }

  // All that was said so far, as updates in order; only what is new is asked for.
  async updates(hash, reader) {
    const name = `${hash} ${reader}`;
    const known = this.said.get(name) ?? { last: 0, updates: [] };
    const found = await this.asked(`list/verdicts?reader=${reader}&since=${known.last}`);
    const anew = found.last < known.last; // a store that was restored begins again
    if (found.cells.length || anew) known.updates = anew ? [found] : [...known.updates, found];
    known.last = found.last;
    this.said.set(name, known);
    return known.updates;
  }

  async asked(place) {
    const response = await fetch(new URL(place, this.address), { cache: "no-store" });
    if (!response.ok) throw new Error(`${response.status}`);
    const found = await response.json();
    if (found.text) throw new Error(found.text);
    return found;
  }
}
