// From a pixel's level to the gray of the screen: windows of PS3.3 C.11.2, tables, polarity. Pure; no page is needed.

// The display value in [0, 1] of a modality value; the functions are those of VOILUTFunction.
export function windowed(value, { center, width, function: kind = "LINEAR" }) {
  if (kind === "SIGMOID") return 1 / (1 + Math.exp((-4 * (value - center)) / width));
  if (kind === "LINEAR_EXACT") return within((value - center) / width + 0.5, 0, 1);
  if (width <= 1) return value > center - 0.5 ? 1 : 0;
  return within((value - (center - 0.5)) / (width - 1) + 0.5, 0, 1);
}

export const within = (value, low, high) => Math.min(high, Math.max(low, value));

// The gray (0 to 255) of every level of an image. What is no part of the image is black, whatever the polarity.
export function shades({ modality, inverted, padding }, way) {
  const found = new Uint8ClampedArray(modality.length);
  const flip = way.table ? way.inverted : Boolean(inverted) !== Boolean(way.inverted); // a table knows the polarity
  for (let level = 0; level < found.length; level += 1) {
    const shown = way.table ? way.table[level] / 65535 : windowed(modality[level], way);
    found[level] = Math.floor(255 * (flip ? 1 - shown : shown) + 0.5);
  }
  if (padding) found.fill(0, padding[0], padding[1] + 1);
  return found;
}

// The least and greatest modality value that an image can have: what windows are dragged within.
export function span(modality) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of modality) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high, width: Math.max(high - low, 1) };
}

// A window after the pointer moved by so many pixels. As in Cornerstone: right widens, down raises the centre
// (darkens); the whole range is some 1,000 pixels of movement.
export function dragged({ center, width, function: kind }, dx, dy, { low, high, width: range }) {
  const step = range / 1000;
  const least = kind === "LINEAR" ? Math.min(1, range) : step / 10;
  return {
    function: kind,
    center: within(center + dy * step, low - range / 2, high + range / 2),
    width: within(width + dx * step, least, 4 * range),
  };
}

// The window that comes nearest to a table: what it shows as 2 % and 98 % gray are its ends. A drag starts from it.
export function nearest(modality, table, inverted) {
  const ends = [];
  const rising = inverted ? (level) => 1 - table[level] / 65535 : (level) => table[level] / 65535;
  for (const wanted of [0.02, 0.98]) {
    let best = 0;
    for (let level = 0; level < table.length; level += 1) {
      if (Math.abs(rising(level) - wanted) < Math.abs(rising(best) - wanted)) best = level;
    }
    ends.push(modality[best]);
  }
  const width = Math.max(Math.abs(ends[1] - ends[0]) / 0.96, 1);
  return { center: (ends[0] + ends[1]) / 2, width, function: "LINEAR" };
}

// Numbers as a reader reads them: whole where the range is large.
export function inWords(value, range) {
  return range >= 100 ? String(Math.round(value)) : value.toPrecision(3);
}
