// Cases over HTTP, kept in the memory of this page and nowhere else: the case, the ones beside it, a few more.

import { prepared } from "./heatmap.mjs";
import { unpacked } from "./message.mjs";
import { pyramid } from "./paint.mjs";
import { readableAll } from "./text.mjs";

const KEPT = { picture: 6, record: 24, map: 24 };
const ANSWERED_WITHIN = 1000; // milliseconds
const PAUSE = 600; // milliseconds between two questions whether something is computed

export class Refusal extends Error {}

// Values by name, made once; the oldest are let go. What is there can be had at once, without waiting.
class Kept {
  constructor(most) {
    Object.assign(this, { most, made: new Map() });
  }

  of(name, make) {
    const known = this.made.get(name) ?? { promise: make(), value: null };
    this.made.delete(name);
    this.made.set(name, known);
    while (this.made.size > this.most) this.made.delete(this.made.keys().next().value);
    known.promise.then((value) => { known.value = value; }, () => {
      if (this.made.get(name) === known) this.made.delete(name); // it is asked for again next time
    });
    return known.promise;
  }

  // Made anew; what is known stays until that is there.
  async renewed(name, make) {
    const value = await make();
    this.made.delete(name);
    return this.of(name, () => Promise.resolve(value));
  }

  now(name) {
    return this.made.get(name)?.value ?? null;
  }
}

export class Feed {
  constructor(address, colours) {
    Object.assign(this, { address, colours, reader: "" }); // `reader`: who looks, a number of the store's list
    for (const [kind, most] of Object.entries(KEPT)) this[`${kind}s`] = new Kept(most);
  }

  // What is there of a case: {record, picture}, each null where it is not.
  now(key) {
    return { record: this.records.now(`${this.reader} ${key}`), picture: this.pictures.now(key) };
  }

  record(key, fresh = false) {
    const { reader } = this;
    const asked = `reader=${encodeURIComponent(reader)}${fresh ? "&opened=1" : ""}`;
    const make = async () => ({ ...(await this.told(`case/${encodeURIComponent(key)}?${asked}`)), reader });
    const name = `${reader} ${key}`; // what one may see another may not
    return fresh ? this.records.renewed(name, make) : this.records.of(name, make);
  }

  // The picture of a case; `early`, if given, is told a smaller one where the file holds one that comes sooner.
  picture(key, early = null) {
    return this.pictures.of(key, () => this.fetched(key, early));
  }

  async fetched(key, early) {
    if (early) {
      const first = await this.asked(key, true);
      if (first.size.rows === first.native.rows && first.size.columns === first.native.columns) return first;
      early(first);
    }
    return this.asked(key, false);
  }

  // In the background, once what is looked at is there; the next one first.
  async prefetch(keys) {
    for (const key of keys) {
      await Promise.allSettled([this.record(key), this.picture(key)]);
    }
  }

  // Whether the model gives a case's scores again, and its maps then; `then` are cases to look at after it.
  async check(key, then) {
    const query = new URLSearchParams(then.map((other) => ["then", other]));
    const found = await this.told(`check/${encodeURIComponent(key)}?${query}`);
    return { ...found, maps: await prepared(found.maps, this.colours) };
  }

  // A label's maps by another method, once they are computed.
  heatmap(key, label, method) {
    return this.maps.of(JSON.stringify([key, label, method]), async () => {
      const query = new URLSearchParams({ label, method });
      for (;;) {
        const found = await this.told(`map/${encodeURIComponent(key)}?${query}`);
        if (found.state === "same") return (await prepared(found.maps, this.colours))[label];
        if (found.state !== "waiting") throw new Refusal(found.text);
        await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
      }
    });
  }

  // What the server says of itself; {late: true} where it takes its time, null where nobody is there any more.
  async beat() {
    const asked = new URL("room/alive", this.address);
    try {
      const response = await fetch(asked, { cache: "no-store", signal: AbortSignal.timeout(ANSWERED_WITHIN) });
      return response.ok ? await response.json() : null;
    } catch (error) {
      return error.name === "TimeoutError" ? { late: true } : null;
    }
  }

  async told(path) {
    const response = await fetch(new URL(`room/${path}`, this.address), { cache: "no-store" });
    if (!response.ok) throw new Refusal("");
    const found = readableAll(await response.json());
    if (found.text && !found.state) throw new Refusal(found.text);
    return found;
  }

  async asked(key, quick) {
    const place = new URL(`room/picture/${encodeURIComponent(key)}${quick ? "?quick=1" : ""}`, this.address);
    const response = await fetch(place, { cache: "no-store" });
    if (!response.ok) throw new Refusal("");
    if (response.headers.get("content-type").includes("json")) throw new Refusal(readableAll(await response.json()).text);
    const picture = unpacked(await response.arrayBuffer());
    const { rows, columns } = picture.size;
    const maps = await prepared(picture.maps, this.colours);
    return { ...picture, key, maps, copies: pyramid(picture.levels, rows, columns) };
  }
}
