// The filter: which goroutines are meant.
//
//   worker               its name, function, place of creation or number contains this
//   name: site: g:       one of these alone
//   m:1  p:0             it has run on this M, with this P
//   reason:chan          it has waited for this
//
// Several words must all match; a minus in front of a word turns it round.

/** Computes, for each goroutine, whether a filter lets it through. Null: all of them. */
function compileFilter(trace, text) {
  const words = text.trim().toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return null;
  const passes = new Uint8Array(trace.gs.length).fill(1);
  for (const word of words) {
    const isNot = word.startsWith('-') && word.length > 1;
    const plain = isNot ? word.slice(1) : word;
    const [, key, value] = /^(name|site|g|m|p|reason):(.*)$/.exec(plain) ?? [null, '', plain];
    if (value === '') continue;
    const found = match(trace, key, value);
    for (let g = 0; g < passes.length; g++) if (Boolean(found[g]) === isNot) passes[g] = 0;
  }
  return passes;
}

function match(trace, key, value) {
  const found = new Uint8Array(trace.gs.length);
  if (key === 'm' || key === 'p') {
    const lane = app.cores[key === 'm' ? 'ms' : 'ps'][Number(value.replace(/^[mp]/, ''))];
    if (lane) for (let i = 0; i < lane.size; i++) found[lane.g[i]] = 1;
    return found;
  }
  if (key === 'reason') {
    const { K, kind, how, a } = trace;
    const meant = new Uint8Array(256);
    for (let number = 1; number < 256; number++) meant[number] = why(trace, number).includes(value) ? 1 : 0;
    for (let i = 0; i < trace.total; i++) if (kind[i] === K.switch && meant[how[i]]) found[a[i]] = 1;
    return found;
  }
  const texts = trace.strings.map((string) => string.toLowerCase().includes(value));
  for (let g = 1; g < found.length; g++) {
    const { id, name, fn, site } = trace.gs[g];
    const isName = name.toLowerCase().includes(value);
    const isNumber = String(id) === value.replace(/^g/, '');
    if (key === 'g') found[g] = isNumber;
    else if (key === 'name') found[g] = isName || texts[fn];
    else if (key === 'site') found[g] = texts[site];
    else found[g] = isName || texts[fn] || texts[site] || isNumber;
  }
  return found;
}
