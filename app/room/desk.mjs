// Drafts on their way to the store, each until it is answered; and what two tabs of one reader do to each other's. Pure.

export class Desk {
  // `send` is told every draft that has no answer yet, whenever that changes.
  constructor(send, now = () => performance.now()) {
    Object.assign(this, { send, now, asked: 0 });
    this.waiting = new Map(); // place → {message, again}: one on its way for a case, and whether more was begun since
    this.seen = new Map(); // place → the version that the store kept when this page last knew
  }

  // What the store says that it keeps of a case.
  know(reader, key, version) {
    const place = `${reader} ${key}`;
    if (!this.seen.has(place)) this.seen.set(place, version);
  }

  // One after the other: only an answer tells the version that the next one follows.
  keep(reader, name, key, begun) {
    const place = `${reader} ${key}`;
    const sent = this.waiting.get(place);
    if (sent) {
      sent.again = true;
      return;
    }
    const seen = this.seen.get(place) ?? "";
    const message = { id: crypto.randomUUID(), key, reviewer: name, content: JSON.stringify(begun), seen };
    this.waiting.set(place, { message, again: false });
    this.resend();
  }

  resend() {
    this.asked = this.now();
    this.send([...this.waiting.values()].map(({ message }) => message));
  }

  overdue(milliseconds) {
    return this.waiting.size > 0 && this.now() - this.asked > milliseconds;
  }

  pending(reader, key) {
    return this.waiting.has(`${reader} ${key}`);
  }

  // Answers by id; gives those that were waited for: [{answer, reader, message, again}].
  answered(answers) {
    const heard = [...this.waiting].filter(([, { message }]) => answers[message.id]);
    return heard.map(([place, { message, again }]) => {
      const answer = answers[message.id];
      const [reader] = place.split(" ");
      this.waiting.delete(place);
      this.seen.set(place, answer.version);
      return { answer, reader, message, again };
    });
  }
}
