import assert from "node:assert/strict";
import test from "node:test";

import { Desk } from "../../../app/room/desk.mjs";
import { NOTHING, Stopwatch, Verdicts, isBegun, joined, spoken } from "../../../app/room/verdict.mjs";

test("a verdict is sent until it is answered, and its text is kept until it is saved", () => {
  const sent = [];
  let now = 0;
  const verdicts = new Verdicts((messages) => sent.push(messages), () => now);
  verdicts.write("k1", "disc", { verdict: "agree", comment: "seen" });
  const first = verdicts.save("k1", "disc", { reviewer: "Dr. A" });
  verdicts.write("k2", "disc", { verdict: "unsure" });
  const second = verdicts.save("k2", "disc", { reviewer: "Dr. A" });
  assert.deepEqual(sent.at(-1).map(({ id }) => id), [first, second]); // both: one could be lost on the way
  assert.ok(verdicts.pending("k1", "disc") && verdicts.pending("k1") && !verdicts.pending("k3") && !verdicts.overdue(5000));
  now = 6000;
  assert.ok(verdicts.overdue(5000));
  verdicts.resend();
  assert.equal(sent.at(-1).length, 2);
  const answers = { [first]: { id: first, saved: false, said: "Somebody else was faster." }, [second]: { id: second, saved: true, said: "Saved." } };
  assert.deepEqual(verdicts.answered(answers).map(({ message }) => message.key), ["k1", "k2"]);
  assert.deepEqual(verdicts.answered(answers), []); // heard once
  assert.equal(verdicts.draft("k1", "disc").comment, "seen");
  assert.equal(verdicts.draft("k2", "disc").verdict, "");
  assert.deepEqual(verdicts.said("k2", "disc"), { saved: true, text: "Saved." }); // of the case it was said for
  assert.equal(verdicts.said("k3", "disc"), undefined);
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

test("a skipped case wants a reason, and a verdict carries only what belongs to it", () => {
  const verdicts = new Verdicts(() => {});
  verdicts.write("k1", "a", { verdict: "skipped", confidence: 75, heatmap: "helped", corrected_label: "fold", grade: "2" });
  assert.equal(verdicts.missing("k1", "a", "A"), "Choose why you skip it. Nothing was saved.");
  verdicts.write("k1", "a", { skip_reason: "another reason" });
  assert.equal(verdicts.missing("k1", "a", "A"), "Say in the comment why you skip it. Nothing was saved.");
  verdicts.write("k1", "a", { skip_reason: "not readable" });
  assert.equal(verdicts.missing("k1", "a", "A"), "");
  const draft = verdicts.draft("k1", "a");
  assert.deepEqual(spoken(draft, true), { ...NOTHING, verdict: "skipped", skip_reason: "not readable" });
  assert.deepEqual(spoken({ ...draft, verdict: "own" }, false), { ...NOTHING, verdict: "own", grade: "2", confidence: 75 });
  assert.deepEqual(spoken({ ...draft, verdict: "disagree" }, true), { ...NOTHING, verdict: "disagree", confidence: 75, heatmap: "helped", corrected_label: "fold" });
});

test("of two drafts nothing that was written is lost", () => {
  assert.ok(!isBegun(NOTHING) && isBegun({ confidence: 25 }));
  assert.deepEqual(joined({ comment: "a", verdict: "agree" }, { comment: "b", verdict: "" }), { ...NOTHING, comment: "a\nb", verdict: "agree" });
  for (const [one, other, both] of [["ab", "abc", "abc"], ["abc", "ab", "abc"], ["", "x", "x"], ["x", "", "x"]]) {
    assert.equal(joined({ comment: one }, { comment: other }).comment, both);
  }
  assert.equal(joined({ comment: 7, verdict: null }).comment, ""); // what no page of ours wrote
});

test("what was begun before a reader was known is theirs, and no other reader's", () => {
  const verdicts = new Verdicts(() => {});
  verdicts.write("k1", "a", { comment: "new" });
  verdicts.become("3");
  assert.deepEqual([verdicts.draft("k1", "a").comment, verdicts.cases], ["new", ["k1"]]);
  verdicts.restore("k1", JSON.stringify({ a: { verdict: "agree", comment: "old" } }));
  verdicts.restore("k1", JSON.stringify({ a: { comment: "old again" } })); // once
  assert.deepEqual(verdicts.begun("k1"), { a: { ...NOTHING, verdict: "agree", comment: "old\nnew" } });
  verdicts.become("4");
  assert.deepEqual([verdicts.draft("k1", "a"), verdicts.begun("k1"), verdicts.cases], [NOTHING, {}, []]);
  verdicts.become("3");
  assert.equal(verdicts.draft("k1", "a").comment, "old\nnew");
});

test("a draft is sent until it is answered, with the version that its page knew", () => {
  const sent = [];
  let now = 0;
  const desk = new Desk((messages) => sent.push(messages), () => now);
  desk.know("3", "k1", "v1");
  desk.know("3", "k1", "v2"); // the first time counts: what came later this page does not show
  desk.keep("3", "Dr. A", "k1", { a: { comment: "x" } });
  const [first] = sent.at(-1);
  assert.deepEqual([first.seen, first.reviewer, JSON.parse(first.content)], ["v1", "Dr. A", { a: { comment: "x" } }]);
  for (const comment of ["xy", "xyz"]) desk.keep("3", "Dr. A", "k1", { a: { comment } });
  assert.equal(sent.length, 1); // the next follows the version that the first made
  now = 6000;
  assert.ok(desk.overdue(5000) && desk.pending("3", "k1"));
  desk.resend();
  assert.deepEqual(sent.at(-1), [first]);
  const kept = { id: first.id, kept: true, version: "v3" };
  assert.deepEqual(desk.answered({ [first.id]: kept }), [{ answer: kept, reader: "3", message: first, again: true }]);
  desk.keep("3", "Dr. A", "k1", { a: { comment: "xyz" } });
  const [second] = sent.at(-1);
  assert.deepEqual([second.seen, second.content], ["v3", '{"a":{"comment":"xyz"}}']);
  const other = { id: second.id, kept: false, other: "{}", version: "v4" };
  assert.deepEqual(desk.answered({ [second.id]: other }), [{ answer: other, reader: "3", message: second, again: false }]);
  assert.ok(!desk.pending("3", "k1"));
  desk.keep("3", "Dr. A", "k1", {});
  assert.equal(sent.at(-1)[0].seen, "v4");
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
