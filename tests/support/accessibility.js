// What our own nodes of a page owe: see accessibility.py, which runs this in the page.
() => {
  const found = [];
  const roots = [document];
  for (const root of roots) for (const part of root.querySelectorAll("*")) if (part.shadowRoot) roots.push(part.shadowRoot);
  const ours = roots.slice(1).flatMap((root) => [...root.querySelectorAll("*")]).concat([...document.querySelectorAll(".banner, .brand, .notice, .summary, .facts *")]);
  const say = (part, what) => found.push(`${part.tagName.toLowerCase()}.${part.className}: ${what}`);
  const seen = (part) => part.checkVisibility({ visibilityProperty: true }) && part.getClientRects().length > 0;
  const named = (part) => part.getAttribute("aria-label") || part.textContent.trim() || part.title
    || [...(part.labels ?? [])].some((label) => label.textContent.trim());
  const rgb = (text) => text.match(/[\d.]+/g).map(Number);
  const behind = (part) => {
    const layers = [];
    for (let node = part; node; node = node.assignedSlot ?? node.parentElement ?? node.getRootNode().host) {
      const [r, g, b, a = 1] = rgb(getComputedStyle(node).backgroundColor);
      if (a > 0) layers.push([r, g, b, a]);
      if (a === 1) break;
    }
    return layers.reverse().reduce((under, [r, g, b, a]) => [r, g, b].map((value, place) => a * value + (1 - a) * under[place]), [255, 255, 255]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const part of ours.filter(seen)) {
    const style = getComputedStyle(part);
    if (part.matches("button, input, select, textarea, canvas[role=img], summary, [role=img]") && !named(part)) say(part, "has no name");
    if (part.tabIndex > 0) say(part, "is out of the order of keys");
    const text = [...part.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!text || part.disabled || part.closest("[aria-hidden=true]") || part.matches("option")) continue;
    const [one, other] = [light(rgb(style.color).slice(0, 3)), light(behind(part))].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < needed) say(part, `contrast ${ratio.toFixed(2)} of “${part.textContent.trim().slice(0, 30)}”`);
  }
  const headings = roots.flatMap((root) => [...root.querySelectorAll("h1")]).filter(seen);
  if (headings.length !== 1) found.push(`${headings.length} headings of the first level`);
  return found;
}
