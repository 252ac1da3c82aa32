// Numbers, times and elements: what every view writes with.

/** Writes a duration of `ns` nanoseconds with a unit that suits it. */
function duration(ns) {
  const size = Math.abs(ns);
  if (size < 1e3) return `${Math.round(ns)} ns`;
  if (size < 1e6) return `${digits(ns / 1e3)} µs`;
  if (size < 1e9) return `${digits(ns / 1e6)} ms`;
  return `${digits(ns / 1e9)} s`;
}

/** Writes three digits of a number, as few after the point as that needs. */
function digits(value) {
  const size = Math.abs(value);
  return value.toFixed(size < 10 ? 2 : size < 100 ? 1 : 0);
}

/** Writes the moment `ns`, exactly: seconds, then groups of three digits. */
function moment(ns) {
  const whole = Math.round(ns);
  if (whole < 0) return `−${moment(-whole)}`;
  const part = (value) => String(value).padStart(3, '0');
  const seconds = Math.floor(whole / 1e9);
  return `${seconds}.${part(Math.floor(whole / 1e6) % 1000)} ${part(Math.floor(whole / 1e3) % 1000)} ${part(whole % 1000)} s`;
}

/** Writes a count with thin groups of thousands. */
function count(value) {
  return Math.round(value).toLocaleString('en-GB').replaceAll(',', '\u202f');
}

/** Writes `value` things: `1 event`, `2 events`. */
function many(value, one, more = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : more}`;
}

/** Writes a number of bytes. */
function bytes(value) {
  if (value < 1024) return `${value} B`;
  if (value < 1 << 20) return `${digits(value / 1024)} KiB`;
  if (value < 1 << 30) return `${digits(value / (1 << 20))} MiB`;
  return `${digits(value / (1 << 30))} GiB`;
}

/**
 * Makes an element. Properties that begin with "on" are listeners, `class`, `role`, `aria-…` and
 * `data-…` are attributes, and all others are properties. Children are elements or texts.
 */
function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'class') element.className = value;
    else if (key === 'role' || key === 'scope' || key === 'for' || key.includes('-')) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replaces what an element holds; what is missing is left out. */
function fill(holder, ...children) {
  holder.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

/** Makes an element of a picture. */
function shape(name, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Returns the element with this id. */
function byId(id) {
  return document.getElementById(id);
}

/** Returns the first index of `[from, to)` whose value is greater than `key`, or `to`. */
function after(values, key, from, to) {
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (values[middle] <= key) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** As `after`, for a result that is close to `from`: the steps double until they are too long. */
function soonAfter(values, key, from, to) {
  let step = 1;
  while (from < to && values[Math.min(from + step, to) - 1] <= key) {
    from = Math.min(from + step, to);
    step *= 2;
  }
  return after(values, key, from, Math.min(from + step, to));
}

/** Returns `value` within `[low, high]`. */
function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

/** Says a text to a screen reader. */
function speak(text) {
  byId('spoken').textContent = text;
}
