spec => {
  const regions = [...document.querySelectorAll(spec.region)];
  if (regions.length !== 1) return null;
  const box = regions[0].getBoundingClientRect();
  if (!regions[0].checkVisibility({opacityProperty: true, visibilityProperty: true}) || box.width < 2 || box.height < 2)
    return null;
  const open = [], covered = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const around = walk.currentNode.parentElement;
    if (['SCRIPT', 'STYLE', 'TEMPLATE', 'NOSCRIPT'].includes(around.tagName)) continue;
    if (around.closest(spec.covers)) covered.push(walk.currentNode.data);
    else if (regions[0].contains(around)) open.push(walk.currentNode.data);
  }
  for (const one of document.querySelectorAll('input, textarea')) covered.push(one.value);
  return {open: open.join(' '), covered};
}
