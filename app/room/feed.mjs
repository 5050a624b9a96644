// Pictures over HTTP, kept in the memory of this page and nowhere else: the case, the ones beside it, a few more.

import { pyramid } from "./paint.mjs";
import { unpacked } from "./message.mjs";

const KEPT = 5; // whole pictures
const ANSWERED_WITHIN = 1000; // milliseconds

export class Refusal extends Error {}

export class Feed {
  constructor(address) {
    this.address = address;
    this.kept = new Map(); // key → promise of a picture, oldest first
  }

  // The picture of a case; `early`, if given, is told a smaller one where the file holds one that comes sooner.
  picture(key, early = null) {
    const known = this.kept.get(key);
    this.kept.delete(key);
    const wanted = known ?? this.fetched(key, early);
    this.kept.set(key, wanted);
    wanted.catch(() => this.kept.delete(key)); // it is asked for again next time
    while (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    return wanted;
  }

  async fetched(key, early) {
    if (early) {
      const first = await this.asked(key, true);
      if (first.size.rows === first.native.rows && first.size.columns === first.native.columns) return first;
      early(first);
    }
    return this.asked(key, false);
  }

  // In the background, once what is looked at is there.
  prefetch(keys) {
    for (const key of keys) if (key && !this.kept.has(key)) this.picture(key).catch(() => {});
  }

  // Whether the server still answers.
  async answers() {
    const asked = new URL("room/alive", this.address);
    try {
      return (await fetch(asked, { cache: "no-store", signal: AbortSignal.timeout(ANSWERED_WITHIN) })).ok;
    } catch {
      return false;
    }
  }

  async asked(key, quick) {
    const place = new URL(`room/picture/${encodeURIComponent(key)}${quick ? "?quick=1" : ""}`, this.address);
    const response = await fetch(place, { cache: "no-store" });
    if (!response.ok) throw new Refusal("");
    if (response.headers.get("content-type").includes("json")) throw new Refusal((await response.json()).text);
    const picture = unpacked(await response.arrayBuffer());
    const { rows, columns } = picture.size;
    return { ...picture, key, copies: pyramid(picture.levels, rows, columns) };
  }
}
