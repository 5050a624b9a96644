// What a reviewer says of a label: a draft per case and label, what is sent, and what came of it. Needs no page.

// Drafts and what is on its way. A verdict stays here until Python has answered it, and its text until it is saved.
export class Verdicts {
  // `send` is told everything that has no answer yet, whenever that changes.
  constructor(send, now = () => performance.now()) {
    Object.assign(this, { send, now });
    this.drafts = new Map(); // "case label" → {verdict, comment}
    this.restored = new Set(); // cases whose kept drafts were taken over
    this.waiting = new Map(); // id → message
    this.said = new Map(); // "case label" → {saved, text} of the last answer
    this.asked = 0; // when it was last sent
  }

  draft(key, label) {
    return this.drafts.get(`${key} ${label}`) ?? { verdict: "", comment: "" };
  }

  write(key, label, changes) {
    this.drafts.set(`${key} ${label}`, { ...this.draft(key, label), ...changes });
    this.said.delete(`${key} ${label}`);
  }

  // What is begun and not saved of a case, by label, for the store to keep.
  begun(key) {
    const mine = [...this.drafts].filter(([place]) => place.startsWith(`${key} `));
    return Object.fromEntries(mine.map(([place, draft]) => [place.slice(key.length + 1), draft]));
  }

  // What the store kept of a case, once, where nothing newer was written here.
  restore(key, kept) {
    if (!kept || this.restored.has(key)) return;
    this.restored.add(key);
    for (const [label, draft] of Object.entries(JSON.parse(kept))) {
      const place = `${key} ${label}`;
      if (!this.drafts.has(place)) this.drafts.set(place, { verdict: String(draft.verdict ?? ""), comment: String(draft.comment ?? "") });
    }
  }

  // What is missing before a verdict can be sent, in words; "" where nothing is.
  missing(key, label, reviewer) {
    if (!this.draft(key, label).verdict) return "Choose agree, disagree or unsure. Nothing was saved.";
    return reviewer.trim() ? "" : "Enter your name. Nothing was saved.";
  }

  // Send the draft, with what the page knows besides: see `SaidVerdict` in medres/review/sent.py, which says it all.
  save(key, label, facts) {
    const id = crypto.randomUUID();
    this.waiting.set(id, { id, key, label, ...this.draft(key, label), ...facts });
    this.said.set(`${key} ${label}`, { saved: null, text: "Saving …" });
    this.resend();
    return id;
  }

  resend() {
    this.asked = this.now();
    this.send([...this.waiting.values()]);
  }

  // Whether something was sent so long ago that it may have been lost on the way.
  overdue(milliseconds) {
    return this.waiting.size > 0 && this.now() - this.asked > milliseconds;
  }

  pending(key, label) {
    return [...this.waiting.values()].some((message) => message.key === key && message.label === label);
  }

  // Answers by id; gives those that were waited for, with their messages.
  answered(answers) {
    const heard = Object.values(answers).filter(({ id }) => this.waiting.has(id));
    return heard.map((answer) => {
      const message = this.waiting.get(answer.id);
      this.waiting.delete(answer.id);
      const place = `${message.key} ${message.label}`;
      if (answer.saved) this.drafts.delete(place);
      this.said.set(place, { saved: answer.saved, text: answer.said });
      return { answer, message };
    });
  }
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
