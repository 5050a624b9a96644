import assert from "node:assert/strict";
import { test } from "node:test";

import { DEFAULT, NOT_STATED, applied, chosen, counted, day, disagreed, items, noCells, ranges, read, undated, written } from "../../../app/list/criteria.mjs";
import { BESIDE, scrolledTo, span, suffices } from "../../../app/list/span.mjs";

const columns = {
  folders: ["monday", "tuesday"],
  folder: [0, 0, 1, 1, 0],
  key: ["a", "b", "c", "d", "e"],
  patient: ["P2", "P1", "P1", "p3", "P2"],
  date: ["2026-11-27", "2025-12-31", "2026-02-01", "", "2026-11-01"],
  view: ["PA", "AP", "PA", "", "PA"],
  side: ["right", "left", "left", "", "left"],
  study: [0, 1, 1, 2, 3],
  review: ["", "Look.", "", "", ""],
  labels: [
    { probability: [0.9, 0.1, 0.5, 0.5, 0.7], positive: [1, 0, 1, 1, 1] },
    { probability: [0.1, 0.2, 0.3, 0.4, 0.5], positive: [0, 0, 0, 0, 1] },
  ],
};
const said = { cells: [
  { row: 0, label: 0, mine: "agree", others: [["B", "disagree"]], hidden: 0 },
  { row: 1, label: 0, mine: "", others: [], hidden: 2 },
  { row: 2, label: 0, mine: "unsure", others: [["B", "unsure"]], hidden: 0 },
  { row: 4, label: 1, mine: "agree", others: [], hidden: 0 },
] };
const cells = applied(noCells(5), said, 0);
const shown = (more, label = 0) => chosen(columns, label, cells, { ...DEFAULT, ...more });

test("rows are sorted by what is asked, and equal ones stay in the order of the table", () => {
  assert.deepEqual(shown({}), [0, 4, 2, 3, 1]);
  assert.deepEqual(shown({ down: false }), [1, 2, 3, 4, 0]);
  assert.deepEqual(shown({}, 1), [4, 3, 2, 1, 0]);
  assert.deepEqual(shown({ sort: "patient", down: false }), [1, 2, 0, 4, 3]);
  assert.deepEqual(shown({ sort: "view", down: false }), [3, 1, 2, 4, 0]);
  assert.deepEqual(shown({ sort: "date" }), [0, 4, 2, 1, 3]);
  assert.deepEqual(shown({ sort: "folder", down: false }), [0, 1, 4, 2, 3]);
  assert.deepEqual(shown({ sort: "file", down: false }), [0, 1, 2, 3, 4]);
});

test("a filter lists exactly what it says", () => {
  assert.deepEqual(shown({ show: "unread" }), [4, 3, 1]);
  assert.deepEqual(shown({ show: "mine" }), [0, 2]);
  assert.deepEqual(shown({ show: "disagreed" }), [0]);
  assert.deepEqual(shown({ show: "look" }), [1]);
  assert.deepEqual(shown({ show: "above" }, 1), [4]);
  assert.deepEqual(shown({ view: "PA" }), [0, 4, 2]);
  assert.deepEqual(shown({ search: " P3" }), [3]);
  assert.deepEqual(shown({ search: "p", view: "AP", show: "look" }), [1]);
  assert.deepEqual(shown({ view: NOT_STATED }), [3]);
  assert.deepEqual(shown({ view: "PA", side: "left" }), [4, 2]);
  assert.deepEqual(shown({ side: NOT_STATED }), [3]);
  assert.deepEqual(shown({ folder: "tuesday" }), [2, 3]);
  assert.deepEqual(shown({ folder: "tuesday", side: "left" }), [2]);
});

test("days lie between two, both included, and what has no date is not shown and is counted", () => {
  assert.deepEqual(shown({ from: "2026-11-01", to: "2026-11-27" }), [0, 4]);
  assert.deepEqual(shown({ from: "2026-11-02", to: "2026" }), [0]);
  assert.deepEqual(shown({ from: "2025-12", to: "2026-02" }), [2, 1]);
  assert.deepEqual(shown({ to: "2025" }), [1]);
  assert.equal(undated(columns, { from: "", to: "2025" }), 1);
  assert.equal(undated(columns, DEFAULT), 0);
});

test("a date is a year, a month or a day of the calendar, in one form", () => {
  for (const [said, found] of [["2026", "2026"], ["2026-11", "2026-11"], [" 20261127 ", "2026-11-27"], ["2024-02-29", "2024-02-29"], ["", ""]]) {
    assert.equal(day(said), found);
  }
  for (const said of ["2026-13", "2026-02-30", "27.11.2026", "11/27/2026", "26", "2026-1", "x"]) assert.equal(day(said), null);
});

test("who has not judged a row disagrees with nobody, unless others do among themselves", () => {
  const open = { ...noCells(2), others: [[["A", "agree"], ["B", "disagree"]], [["A", "agree"]]] };
  assert.equal(disagreed(open, 0), true);
  assert.equal(disagreed(open, 1), false);
  const skipped = { mine: ["agree", "skipped"], others: [[["B", "skipped"]], [["B", "agree"], ["C", "agree"]]] };
  assert.deepEqual([0, 1].map((row) => disagreed(skipped, row)), [false, false]); // who skips says nothing
});

test("an update changes the cells of its label, and later ones replace earlier ones", () => {
  const next = applied(applied(noCells(5), said, 0), { cells: [{ row: 0, label: 0, mine: "disagree", others: [], hidden: 0 }] }, 0);
  assert.equal(next.mine[0], "disagree");
  assert.equal(next.others[0], null);
  assert.equal(applied(noCells(5), said, 1).mine[4], "agree");
  assert.equal(applied(noCells(5), said, 1).mine[0], "");
});

test("a study stands where its first row is, with all its rows", () => {
  const found = items(shown({}), columns, true);
  assert.deepEqual(found, [
    { study: 0, rows: [0] }, { row: 0 }, { study: 3, rows: [4] }, { row: 4 },
    { study: 1, rows: [2, 1] }, { row: 2 }, { row: 1 }, { study: 2, rows: [3] }, { row: 3 },
  ]);
  assert.deepEqual(items([3, 1], columns, false), [{ row: 3 }, { row: 1 }]);
});

test("an address says what is unusual, and only what is known comes back from it", () => {
  assert.equal(written(DEFAULT), "");
  const criteria = {
    show: "mine", sort: "date", down: false, view: "P&A", side: "left", from: "2026-11", to: "2026-11-27", folder: "monday", search: "a=b", studies: true,
  };
  assert.deepEqual(read(written(criteria)), criteria);
  assert.deepEqual(read("from=yesterday&to=2026-99&show=evil&sort=__proto__&down=x&studies=1"), DEFAULT);
  assert.equal(read(`search=${"x".repeat(999)}`).search.length, 200);
});

test("counts are of the label that is looked at", () => {
  assert.deepEqual(counted(columns, 0, cells), { images: 5, above: 4, look: 1, mine: 2 });
});

test("row numbers that follow each other are one range", () => {
  assert.equal(ranges([2, 3, 5, 6, 7, 9]), "2, 3, 5–7, 9");
  assert.equal(ranges([4]), "4");
  assert.equal(ranges([]), "");
});

test("what is in view is built, with some to spare, wherever one scrolls", () => {
  for (let scrolled = 0; scrolled <= 50 * 10_000; scrolled += 4_321) {
    const place = { scrolled, pane: 700, height: 50, count: 10_000 };
    const built = span(place);
    assert.ok(built.first <= scrolled / 50 && built.end >= Math.min(10_000, (scrolled + 700) / 50));
    assert.ok(built.end - built.first <= 2 * BESIDE + 16);
    assert.ok(suffices(built, place));
    assert.ok(!suffices(built, { ...place, scrolled: scrolled < 250_000 ? scrolled + 5_000 : scrolled - 5_000 }));
  }
});

test("an item comes into view by the shortest way", () => {
  const place = { scrolled: 1000, pane: 500, height: 50 };
  assert.equal(scrolledTo(10, place), 500);
  assert.equal(scrolledTo(22, place), 1000);
  assert.equal(scrolledTo(30, place), 1050);
});
