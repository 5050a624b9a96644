import assert from "node:assert/strict";
import test from "node:test";

import { Stopwatch, Verdicts } from "../../../app/room/verdict.mjs";

test("a verdict is sent until it is answered, and its text is kept until it is saved", () => {
  const sent = [];
  let now = 0;
  const verdicts = new Verdicts((messages) => sent.push(messages), () => now);
  verdicts.write("k1", "disc", { verdict: "agree", comment: "seen" });
  const first = verdicts.save("k1", "disc", { reviewer: "Dr. A" });
  verdicts.write("k2", "disc", { verdict: "unsure" });
  const second = verdicts.save("k2", "disc", { reviewer: "Dr. A" });
  assert.deepEqual(sent.at(-1).map(({ id }) => id), [first, second]); // both: one could be lost on the way
  assert.ok(verdicts.pending("k1", "disc") && !verdicts.overdue(5000));
  now = 6000;
  assert.ok(verdicts.overdue(5000));
  verdicts.resend();
  assert.equal(sent.at(-1).length, 2);
  const answers = { [first]: { id: first, saved: false, said: "Somebody else was faster." }, [second]: { id: second, saved: true, said: "Saved." } };
  assert.deepEqual(verdicts.answered(answers).map(({ message }) => message.key), ["k1", "k2"]);
  assert.deepEqual(verdicts.answered(answers), []); // heard once
  assert.equal(verdicts.draft("k1", "disc").comment, "seen");
  assert.equal(verdicts.draft("k2", "disc").verdict, "");
  assert.deepEqual(verdicts.said.get("k2 disc"), { saved: true, text: "Saved." }); // of the case it was said for
  assert.equal(verdicts.said.get("k3 disc"), undefined);
  assert.ok(!verdicts.overdue(0));
});

test("a draft belongs to a case and a label", () => {
  const verdicts = new Verdicts(() => {});
  verdicts.write("k1", "a", { verdict: "agree" });
  assert.equal(verdicts.draft("k1", "b").verdict, "");
  assert.equal(verdicts.missing("k1", "b", "Dr. A"), "Choose agree, disagree or unsure. Nothing was saved.");
  assert.equal(verdicts.missing("k1", "a", "  "), "Enter your name. Nothing was saved.");
  assert.equal(verdicts.missing("k1", "a", "Dr. A"), "");
});

test("time in view runs only while something is seen", () => {
  let now = 0;
  const watch = new Stopwatch(() => now);
  watch.start();
  now = 2000;
  watch.start(); // it runs already
  watch.stop();
  now = 60000;
  assert.equal(watch.seconds, 2);
  watch.start();
  now = 61000;
  assert.equal(watch.seconds, 3);
  watch.reset();
  assert.equal(watch.seconds, 0);
});
