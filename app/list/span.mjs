// Which part of a long list is built: what is in view, and as much above and below. Pure.

export const BESIDE = 40; // items that are built above and below the view

// The first item that is built and the one behind the last, of `count` items of `height` CSS pixels.
export function span({ scrolled, pane, height, count }) {
  const first = Math.max(0, Math.floor(scrolled / height) - BESIDE);
  return { first, end: Math.min(count, Math.ceil((scrolled + pane) / height) + BESIDE) };
}

// Whether what is in view is built with some to spare.
export function suffices({ first, end }, { scrolled, pane, height, count }) {
  const spare = BESIDE / 4;
  const top = Math.floor(scrolled / height) - spare;
  const bottom = Math.ceil((scrolled + pane) / height) + spare;
  return (first === 0 || top >= first) && (end === count || bottom <= end);
}

// Where to scroll so that an item is in view; the same place where it is already.
export function scrolledTo(item, { scrolled, pane, height }) {
  const top = item * height;
  if (top < scrolled) return top;
  return top + height > scrolled + pane ? top + height - pane : scrolled;
}
