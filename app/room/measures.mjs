// Rulers and angles: what a reader draws, where its ends lie in the image, what it says. Pure; no page is needed.

import { angle, distance } from "./geometry.mjs";

const NEEDED = { ruler: 2, angle: 3 };

// What a mark says: with the unit that the spacing allows.
export function said(mark, image) {
  const { kind, points } = mark;
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

export function begun(kind, point) {
  return { kind, points: [point], whole: false };
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
