(() => {
  const wrong = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const one = (selector) => { const n = all(selector).length; if (n !== 1) wrong.push(`${n} of ${selector}`); };
  one("html[lang]"); one("head > title"); one("h1"); one("main"); one("body > header"); one("body > footer"); one("nav[aria-label='Pages']"); one("[aria-current=page]");
  const named = (e) => (e.getAttribute("aria-label") || e.textContent || "").trim();
  for (const e of all("nav, [role=group], [role=log], svg[role=img]")) if (!e.getAttribute("aria-label")) wrong.push(`no name: ${e.outerHTML.slice(0, 90)}`);
  for (const e of all("section")) { const by = e.getAttribute("aria-labelledby"); if (!by || !document.getElementById(by)) wrong.push(`section without a head: ${e.outerHTML.slice(0, 90)}`); }
  for (const e of all("a, button, summary")) if (!named(e)) wrong.push(`says nothing: ${e.outerHTML.slice(0, 90)}`);
  for (const e of all("input:not([type=hidden]), select, textarea")) if (e.labels.length === 0) wrong.push(`no label: ${e.outerHTML.slice(0, 90)}`);
  for (const e of all("table")) { if (!e.caption) wrong.push(`table without caption: ${e.outerHTML.slice(0, 90)}`); for (const h of e.querySelectorAll("th")) if (!h.scope) wrong.push(`head without scope: ${h.outerHTML.slice(0, 90)}`); }
  const ids = all("[id]").map((e) => e.id); for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) wrong.push(`id twice: ${id}`);
  let level = 1; for (const e of all("h1, h2, h3, h4")) { const n = +e.tagName[1]; if (n > level + 1) wrong.push(`skips to ${e.tagName}: ${e.textContent}`); level = n; }
  for (const e of all("*")) { const s = getComputedStyle(e); if (/(auto|scroll)/.test(s.overflowX + s.overflowY) && e.scrollWidth > e.clientWidth + 1 && e.tabIndex < 0 && e !== document.documentElement && !e.matches("input, select")) wrong.push(`cannot be scrolled by keyboard: ${e.outerHTML.slice(0, 90)}`); }
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = "#000"; canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); const d = canvas.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255]; };
  const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3]));
  const ground = (e) => { const layers = []; for (let n = e; n; n = n.parentElement) { const c = rgba(getComputedStyle(n).backgroundColor); if (c[3] > 0) layers.push(c); if (c[3] === 1) break; } let base = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255]; for (const c of layers.reverse()) base = over(c, base); return base; };
  const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  let texts = 0;
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || seen.has(e) || e.closest(".hidden, .skip, script, noscript, datalist, option, title") || e.getClientRects().length === 0) continue;
    seen.add(e); texts += 1;
    const style = getComputedStyle(e);
    const back = ground(e);
    const ink = rgba(e.closest("svg") ? style.fill : style.color);
    ink[3] *= +style.opacity;
    const [a, b] = [light(over(ink, back)), light(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) wrong.push(`contrast ${ratio.toFixed(2)}: ${e.tagName}.${e.className.baseVal ?? e.className} ${e.textContent.slice(0, 30)}`);
  }
  if (texts < 10) wrong.push(`only ${texts} texts were looked at`);
  return wrong;
})()
