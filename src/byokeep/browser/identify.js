spec => {
  const shown = element => {
    const box = element.getBoundingClientRect();
    return element.checkVisibility({opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true})
      && box.width > 1 && box.height > 1 && box.right + scrollX > 0 && box.bottom + scrollY > 0
      && box.left + scrollX < document.documentElement.scrollWidth;
  };
  const any = selectors => selectors.some(one => [...document.querySelectorAll(one)].some(shown));
  const part = (element, where) => {
    if (!where) return null;
    const all = where.inside ? [...element.querySelectorAll(where.inside)] : [element];
    if (all.length !== 1) return all.length ? undefined : null;
    const text = where.attribute ? all[0].getAttribute(where.attribute) : all[0].innerText;
    return text === null ? null : text.trim();
  };
  const texts = [], elements = [];
  for (const element of document.querySelectorAll(spec.selector)) {
    if (spec.reading === 'element')
      elements.push({shown: shown(element), parts: spec.parts.map(where => part(element, where))});
    else if (element.textContent.includes(spec.marker)) texts.push(element.textContent.slice(0, spec.longest));
  }
  return {address: location.href, loggedOut: any(spec.loggedOut), challenge: any(spec.challenge), texts, elements};
}
