import assert from "node:assert/strict";
import test from "node:test";

import { begun, extended, meant, nearestPoint, said, sent, withPoint } from "../../../app/room/measures.mjs";

const image = { rows: 100, columns: 100, aspect: 1, spacing: [0.2, 0.2] };

test("a ruler says millimetres, or pixels where nobody knows how large one is", () => {
  const ruler = extended(begun("ruler", { x: 0, y: 0 }), { x: 30, y: 40 });
  assert.ok(ruler.whole);
  assert.equal(said(ruler, image), "10.0 mm");
  assert.equal(said(ruler, { ...image, spacing: null }), "50 px");
});

test("an angle needs three points", () => {
  const two = extended(begun("angle", { x: 10, y: 0 }), { x: 0, y: 0 });
  assert.ok(!two.whole && said(two, image) === "");
  const three = extended(two, { x: 0, y: 10 });
  assert.ok(three.whole);
  assert.equal(said(three, image), "90.0°");
});

test("the nearest point of a mark can be taken and moved", () => {
  const marks = [extended(begun("ruler", { x: 0, y: 0 }), { x: 50, y: 50 })];
  const found = nearestPoint(marks, { x: 52, y: 49 }, (point) => point);
  assert.deepEqual(found, { mark: 0, point: 1 });
  assert.equal(nearestPoint(marks, { x: 90, y: 9 }, (point) => point), null);
  assert.deepEqual(withPoint(marks, found, { x: 1, y: 2 })[0].points[1], { x: 1, y: 2 });
});

test("marks of a finding are saved in native pixels, those of other labels and rulers are not", () => {
  const box = extended(begun("box", { x: 30, y: 5 }, "disc"), { x: -2, y: 40 });
  const point = begun("point", { x: 7.5, y: 9 }, "disc");
  assert.ok(point.whole && box.whole && meant(point) && said(box, image) === "disc");
  const ruler = extended(begun("ruler", { x: 0, y: 0 }), { x: 30, y: 40 });
  assert.deepEqual(sent([box, ruler, point, begun("point", { x: 1, y: 1 }, "rib")], "disc"), [
    { kind: "box", top: 5, left: 0, bottom: 40, right: 30 }, { kind: "point", row: 9, column: 7.5 },
  ]);
  assert.ok(!meant(extended(begun("box", { x: 3, y: 4 }), { x: 3, y: 4 }))); // a slip of the hand
});
