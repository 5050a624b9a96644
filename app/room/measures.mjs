// Rulers, angles and marks of findings: what a reader draws, where its ends lie in the image, what it says. Pure.

import { angle, distance } from "./geometry.mjs";

const NEEDED = { ruler: 2, angle: 3, point: 1, box: 2 };
export const FINDINGS = ["point", "box"]; // marks of a finding, which are saved with a verdict

// What a mark says: with the unit that the spacing allows; of a finding its label.
export function said(mark, image) {
  const { kind, points } = mark;
  if (FINDINGS.includes(kind)) return mark.label ?? "";
  if (points.length < NEEDED[kind]) return "";
  if (kind === "angle") return `${angle(...points, image.spacing, image.aspect).toFixed(1)}°`;
  if (image.spacing) return `${distance(...points, image.spacing).toFixed(1)} mm`;
  return `${distance(...points, [image.aspect, 1]).toFixed(0)} px`;
}

// One more point; a mark that has all its points is whole.
export function extended(mark, point) {
  const points = [...mark.points, point];
  return { ...mark, points, whole: points.length >= NEEDED[mark.kind] };
}

export function begun(kind, point, label = "") {
  return { kind, label, points: [point], whole: NEEDED[kind] === 1 };
}

// Whether a whole mark is one: two ends at the same place are a slip of the hand.
export function meant({ points, whole }) {
  const [first, second] = points;
  return whole && (!second || first.x !== second.x || first.y !== second.y);
}

// The marks of a label as they are saved, in native pixels.
export function sent(marks, label) {
  return marks.filter((mark) => FINDINGS.includes(mark.kind) && mark.label === label).map(({ kind, points: [one, other] }) => {
    const inside = (value) => Math.max(0, value);
    if (kind === "point") return { kind, row: inside(one.y), column: inside(one.x) };
    const [across, down] = [[one.x, other.x], [one.y, other.y]].map((ends) => ends.map(inside).sort((a, b) => a - b));
    return { kind, top: down[0], left: across[0], bottom: down[1], right: across[1] };
  });
}

// The mark whose point lies nearest to a place on the screen, within so many CSS pixels: {mark, point} or null.
export function nearestPoint(marks, place, onScreen, reach = 10) {
  let found = null;
  let least = reach;
  marks.forEach((mark, number) => mark.points.forEach((end, point) => {
    const { x, y } = onScreen(end);
    const away = Math.hypot(x - place.x, y - place.y);
    if (away <= least) [found, least] = [{ mark: number, point }, away];
  }));
  return found;
}

export function withPoint(marks, { mark, point }, to) {
  return marks.map((item, number) => (
    number === mark ? { ...item, points: item.points.map((end, place) => (place === point ? to : end)) } : item
  ));
}
