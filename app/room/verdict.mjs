// What a reader says of a label: a draft per reader, case and label, what is sent, and what came of it. Needs no page.

export const NOTHING = { verdict: "", comment: "", grade: "", skip_reason: "", corrected_label: "", confidence: null, heatmap: "" };

// Drafts and what is on its way. A verdict stays here until Python has answered it, and its text until it is saved.
export class Verdicts {
  // `send` is told everything that has no answer yet, whenever that changes.
  constructor(send, now = () => performance.now()) {
    Object.assign(this, { send, now });
    this.reader = ""; // whose drafts are shown, by number; "": nobody has said it yet
    this.drafts = new Map(); // place → what is begun
    this.restored = new Set(); // places of cases whose kept drafts were taken over
    this.waiting = new Map(); // id → {message, place}
    this.answers = new Map(); // place → {saved, text} of the last answer
    this.asked = 0; // when it was last sent
  }

  place(key, label, reader = this.reader) {
    return `${reader} ${key} ${label}`;
  }

  draft(key, label) {
    return this.drafts.get(this.place(key, label)) ?? NOTHING;
  }

  write(key, label, changes) {
    this.drafts.set(this.place(key, label), { ...this.draft(key, label), ...changes });
    this.forget(key, label);
  }

  said(key, label) {
    return this.answers.get(this.place(key, label));
  }

  forget(key, label) {
    this.answers.delete(this.place(key, label));
  }

  // Another reader's drafts are shown from now on; what was begun before anybody had said who they are is theirs.
  become(reader) {
    const first = this.reader === "" && reader !== "";
    this.reader = reader;
    if (!first) return;
    const theirs = (place) => (place.startsWith(" ") ? `${reader}${place}` : place);
    for (const [place, draft] of [...this.drafts]) {
      if (!place.startsWith(" ")) continue;
      this.drafts.delete(place);
      this.drafts.set(theirs(place), joined(this.drafts.get(theirs(place)), draft));
    }
    this.answers = new Map([...this.answers].map(([place, answer]) => [theirs(place), answer]));
    for (const sent of this.waiting.values()) sent.place = theirs(sent.place);
  }

  // What is begun and not saved of a case, by label, for the store to keep.
  begun(key, reader = this.reader) {
    const start = this.place(key, "", reader);
    const mine = [...this.drafts].filter(([place, draft]) => place.startsWith(start) && isBegun(draft));
    return Object.fromEntries(mine.map(([place, draft]) => [place.slice(start.length), draft]));
  }

  // The cases of which something is begun.
  get cases() {
    const start = `${this.reader} `;
    return [...new Set([...this.drafts.keys()].filter((place) => place.startsWith(start)).map((place) => place.split(" ")[1]))];
  }

  // What the store kept of a case, once; what was written here since stays beside it.
  restore(key, kept) {
    const place = this.place(key, "");
    if (!kept || this.restored.has(place)) return;
    this.restored.add(place);
    this.add(key, JSON.parse(kept));
  }

  // Drafts by label beside those that are here.
  add(key, drafts, reader = this.reader) {
    for (const [label, draft] of Object.entries(drafts)) {
      const place = this.place(key, label, reader);
      this.drafts.set(place, joined(draft, this.drafts.get(place)));
    }
  }

  // What is missing before a verdict can be sent, in words; "" where nothing is.
  missing(key, label, reader) {
    const { verdict, skip_reason: reason, comment } = this.draft(key, label);
    if (!verdict) return "Choose agree, disagree or unsure. Nothing was saved.";
    if (verdict === "skipped" && !reason) return "Choose why you skip it. Nothing was saved.";
    if (verdict === "skipped" && reason === "another reason" && !comment.trim()) return "Say in the comment why you skip it. Nothing was saved.";
    return reader.trim() ? "" : "Enter your name. Nothing was saved.";
  }

  // Send the draft, with what the page knows besides: see `SaidVerdict` in medres/review/sent.py, which says it all.
  save(key, label, facts) {
    const id = crypto.randomUUID();
    const message = { id, key, label, ...spoken(this.draft(key, label), facts.heatmap_shown), ...facts };
    this.waiting.set(id, { message, place: this.place(key, label) });
    this.answers.set(this.place(key, label), { saved: null, text: "Saving …" });
    this.resend();
    return id;
  }

  resend() {
    this.asked = this.now();
    this.send([...this.waiting.values()].map(({ message }) => message));
  }

  // Whether something was sent so long ago that it may have been lost on the way.
  overdue(milliseconds) {
    return this.waiting.size > 0 && this.now() - this.asked > milliseconds;
  }

  // Whether a verdict on a label, or on any of a case, is on its way.
  pending(key, label = "") {
    const wanted = this.place(key, label);
    return [...this.waiting.values()].some(({ place }) => (label ? place === wanted : place.startsWith(wanted)));
  }

  // Answers by id; gives those that were waited for: [{answer, message, reader}].
  answered(answers) {
    const heard = Object.values(answers).filter(({ id }) => this.waiting.has(id));
    return heard.map((answer) => {
      const { message, place } = this.waiting.get(answer.id);
      this.waiting.delete(answer.id);
      if (answer.saved) this.drafts.delete(place);
      this.answers.set(place, { saved: answer.saved, text: answer.said });
      return { answer, message, reader: place.split(" ")[0] };
    });
  }
}

// What of a draft goes with its verdict: a reason only where it is skipped, a word on the heatmap only where it was seen.
export function spoken(draft, heatmapShown) {
  const { verdict } = draft;
  const skipped = verdict === "skipped";
  return {
    ...draft,
    grade: verdict === "own" ? draft.grade : "",
    skip_reason: skipped ? draft.skip_reason : "",
    corrected_label: verdict === "disagree" ? draft.corrected_label : "",
    confidence: skipped ? null : draft.confidence,
    heatmap: heatmapShown && !skipped ? draft.heatmap : "",
  };
}

export function isBegun(draft) {
  return Object.entries(NOTHING).some(([name, empty]) => (draft[name] ?? empty) !== empty);
}

// Two drafts of one label as one: choices of the later, and the texts of both.
export function joined(earlier = {}, later = {}) {
  const made = { ...NOTHING };
  for (const [name, empty] of Object.entries(NOTHING)) {
    const [one, other] = [earlier, later].map((draft) => (typeof draft[name] === typeof empty || empty === null ? draft[name] ?? empty : empty));
    made[name] = other === empty ? one : other;
  }
  const { comment } = earlier;
  if (comment && later.comment && !later.comment.includes(comment)) {
    made.comment = comment.includes(later.comment) ? comment : `${comment}\n${later.comment}`;
  }
  return made;
}

// How long something was seen: time runs while it is open and the page is not hidden.
export class Stopwatch {
  constructor(now = () => performance.now()) {
    Object.assign(this, { now, total: 0, since: null });
  }

  start() {
    if (this.since === null) this.since = this.now();
  }

  stop() {
    if (this.since !== null) this.total += this.now() - this.since;
    this.since = null;
  }

  reset() {
    Object.assign(this, { total: 0, since: null });
  }

  get seconds() {
    return (this.total + (this.since === null ? 0 : this.now() - this.since)) / 1000;
  }
}
