// Levels of an image painted as gray on the pixels of a pane. Pure arithmetic on arrays; no page is needed.
//
// Levels are interpolated and the result is windowed, in that order: a window's edge stays sharp, and no film is ever
// computed again as a whole. A shrunk image is taken from a copy that was averaged to at most twice the wanted size.

import { turned } from "./geometry.mjs";

// An image and its smaller copies, each half as large as the one before: [{levels, rows, columns}, …].
export function pyramid(levels, rows, columns, least = 256) {
  const found = [{ levels, rows, columns }];
  while (Math.min(found.at(-1).rows, found.at(-1).columns) >= 2 * least) found.push(halved(found.at(-1)));
  return found;
}

function halved({ levels, rows, columns }) {
  const [down, across] = [rows >> 1, columns >> 1];
  const half = new Uint16Array(down * across);
  for (let row = 0, place = 0; row < down; row += 1) {
    let above = 2 * row * columns;
    for (let column = 0; column < across; column += 1, above += 2, place += 1) {
      half[place] = (levels[above] + levels[above + 1] + levels[above + columns] + levels[above + columns + 1] + 2) >> 2;
    }
  }
  return { levels: half, rows: down, columns: across };
}

// Which copy is painted at a scale (screen pixels per pixel of the whole image): the smallest that is not magnified.
export function chosen(copies, scale) {
  let number = 0;
  while (number + 1 < copies.length && scale * 2 ** (number + 1) <= 1) number += 1;
  return number;
}

// For each pixel along an axis of the screen: two neighbours along the image's axis it runs along, and the weight of
// the second. −1: outside of the image.
function samples(count, start, step, length, stride, smooth) {
  const [first, second, weight] = [new Int32Array(count), new Int32Array(count), new Float32Array(count)];
  for (let place = 0; place < count; place += 1) {
    const where = start + step * place; // in pixels of the copy, from the edge of its first
    if (where < 0 || where >= length) {
      first[place] = -1;
      continue;
    }
    const centred = smooth ? Math.min(Math.max(where - 0.5, 0), length - 1) : Math.floor(where);
    const floor = Math.floor(centred);
    first[place] = floor * stride;
    second[place] = Math.min(floor + 1, length - 1) * stride;
    weight[place] = centred - floor;
  }
  return { first, second, weight };
}

// Paint into `target`, a Uint32Array of width × height pixels of a screen with `ratio` of them per CSS pixel.
export function paint(target, { width, height, ratio }, copies, image, view, shades) {
  const whole = turned(view, image);
  const upright = whole.a !== 0;
  const scale = Math.abs(upright ? whole.a : whole.b) * ratio; // screen pixels per column
  const number = chosen(copies, Math.min(scale, Math.abs(upright ? whole.d : whole.c) * ratio));
  const copy = copies[number];
  const shrink = 2 ** number;
  const smooth = !(Number.isInteger(scale) && Number.isInteger(scale * image.aspect)) && scale < 4;
  // Along a row of the screen either columns or rows of the image pass, and the others along a column.
  const perX = 1 / ((upright ? whole.a : whole.c) * ratio * shrink);
  const perY = 1 / ((upright ? whole.d : whole.b) * ratio * shrink);
  const [middleX, middleY] = upright ? [view.centre.x, view.centre.y] : [view.centre.y, view.centre.x];
  const [alongX, alongY] = upright ? [copy.columns, copy.rows] : [copy.rows, copy.columns];
  const [strideX, strideY] = upright ? [1, copy.columns] : [copy.columns, 1];
  const across = samples(width, middleX / shrink + (0.5 - width / 2) * perX, perX, alongX, strideX, smooth);
  const down = samples(height, middleY / shrink + (0.5 - height / 2) * perY, perY, alongY, strideY, smooth);
  const grays = new Uint32Array(shades.length);
  for (let level = 0; level < grays.length; level += 1) grays[level] = 0xff000000 | (shades[level] * 0x010101);
  const { levels } = copy;
  const black = 0xff000000;
  for (let y = 0, place = 0; y < height; y += 1) {
    const [above, below, low] = [down.first[y], down.second[y], down.weight[y]];
    if (above < 0) {
      target.fill(black, place, place + width);
      place += width;
      continue;
    }
    for (let x = 0; x < width; x += 1, place += 1) {
      const left = across.first[x];
      if (left < 0) {
        target[place] = black;
        continue;
      }
      const part = across.weight[x];
      if (part === 0 && low === 0) {
        target[place] = grays[levels[above + left]];
        continue;
      }
      const right = across.second[x];
      const upper = levels[above + left] * (1 - part) + levels[above + right] * part;
      const lower = levels[below + left] * (1 - part) + levels[below + right] * part;
      target[place] = grays[Math.round(upper * (1 - low) + lower * low)];
    }
  }
}
