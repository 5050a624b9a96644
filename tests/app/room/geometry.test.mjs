import assert from "node:assert/strict";
import test from "node:test";

import {
  aligned, angle, atOnePixel, distance, edgesOnScreen, fitted, fitting, moved, toImage, toScreen, zoomedAt,
} from "../../../app/room/geometry.mjs";

const pane = { width: 800, height: 600 };
const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-9 * Math.max(1, Math.abs(b)), `${a} is not ${b}`);
const views = [];
for (const aspect of [1, 0.5, 1.7]) {
  for (const turns of [0, 1, 2, 3]) {
    for (const mirrored of [false, true]) {
      views.push([{ zoom: 0.3, centre: { x: 700, y: 410 }, turns, mirrored }, { rows: 1000, columns: 1600, aspect }]);
    }
  }
}

test("a point of the image is found again from where it lies on the screen, however the image is turned", () => {
  for (const [view, image] of views) {
    for (const point of [{ x: 0, y: 0 }, { x: 1599.5, y: 3.25 }, { x: 41, y: 987 }]) {
      const again = toImage(view, image, pane, toScreen(view, image, pane, point));
      near(again.x, point.x);
      near(again.y, point.y);
    }
  }
});

test("an image that fits touches two edges of the pane and leaves none", () => {
  for (const [view, image] of views) {
    const whole = fitted(view, image, pane);
    const corners = [[0, 0], [image.columns, 0], [0, image.rows], [image.columns, image.rows]];
    const places = corners.map(([x, y]) => toScreen(whole, image, pane, { x, y }));
    const [xs, ys] = [places.map(({ x }) => x), places.map(({ y }) => y)];
    assert.ok(Math.min(...xs) > -1e-6 && Math.max(...xs) < 800 + 1e-6);
    assert.ok(Math.min(...ys) > -1e-6 && Math.max(...ys) < 600 + 1e-6);
    assert.ok(Math.max(...xs) - Math.min(...xs) > 800 - 1e-6 || Math.max(...ys) - Math.min(...ys) > 600 - 1e-6);
  }
});

test("what lies under the pointer stays there when the image is zoomed, and follows it when it is moved", () => {
  for (const [view, image] of views) {
    const pointer = { x: 420, y: 310 };
    const under = toImage(view, image, pane, pointer);
    const zoomed = toScreen(zoomedAt(view, image, pane, pointer, 1.3), image, pane, under);
    near(zoomed.x, pointer.x);
    near(zoomed.y, pointer.y);
    const followed = toScreen(moved(view, image, 13, -7), image, pane, under);
    near(followed.x, pointer.x + 13);
    near(followed.y, pointer.y - 7);
  }
});

test("zoom ends at a part of what fits and at 32 screen pixels", () => {
  const [view, image] = views[0];
  const fit = fitting(view, image, pane);
  near(zoomedAt(view, image, pane, { x: 0, y: 0 }, 1e-9).zoom, fit / 2);
  near(zoomedAt(view, image, pane, { x: 0, y: 0 }, 1e9).zoom, 32);
});

test("at one to one pixels of image and screen coincide", () => {
  for (const ratio of [1, 1.25, 2]) {
    for (const [view, image] of views.filter(([, { aspect }]) => aspect === 1)) {
      const found = atOnePixel(view, image, pane, ratio);
      const corner = toScreen(found, image, pane, { x: 0, y: 0 });
      near(found.zoom * ratio, 1);
      near(corner.x * ratio, Math.round(corner.x * ratio));
      near(corner.y * ratio, Math.round(corner.y * ratio));
      assert.deepEqual(aligned(found, image, pane, ratio).zoom, found.zoom);
    }
  }
});

test("lengths are millimetres where a pixel's size is known, and angles those of the body", () => {
  assert.equal(distance({ x: 0, y: 0 }, { x: 30, y: 40 }, [0.1, 0.1]), 5);
  assert.equal(distance({ x: 0, y: 0 }, { x: 30, y: 40 }, null), 50);
  assert.equal(distance({ x: 0, y: 0 }, { x: 0, y: 40 }, [0.2, 0.1]), 8);
  near(angle({ x: 10, y: 0 }, { x: 0, y: 0 }, { x: 0, y: 10 }, [0.2, 0.2]), 90);
  near(angle({ x: 10, y: 0 }, { x: 0, y: 0 }, { x: 10, y: 5 }, [0.2, 0.1]), 45);
  near(angle({ x: -10, y: 1 }, { x: 0, y: 0 }, { x: -10, y: -1 }, null), 2 * (180 / Math.PI) * Math.atan(0.1));
});

test("the letters of the patient's sides turn with the image", () => {
  const chest = ["R", "L", "H", "F"];
  const on = (turns, mirrored) => edgesOnScreen(chest, { turns, mirrored });
  assert.deepEqual(on(0, false), { left: "R", right: "L", above: "H", below: "F" });
  assert.deepEqual(on(0, true), { left: "L", right: "R", above: "H", below: "F" });
  assert.deepEqual(on(1, false), { above: "R", right: "H", below: "L", left: "F" });
  assert.deepEqual(on(2, false), { left: "L", right: "R", above: "F", below: "H" });
  assert.deepEqual(on(1, true), { above: "L", right: "H", below: "R", left: "F" });
});
