// Elements, formats and requests. What comes from a stream is only ever set as text.

export const $ = (id) => document.getElementById(id);

/** Makes an element. Children are elements or text. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value);
    else if (value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

/** Fills a list of terms. */
export function terms(list, pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  list.replaceChildren(...shown.flatMap(([name, value]) => [
    el("dt", { title: String(name) }, String(name)), el("dd", {}, String(value)),
  ]));
}

const two = (number) => String(number).padStart(2, "0");

/** 14:03:07, with tenths if asked for. */
export function clock(millis, tenths = false) {
  const time = new Date(millis);
  const text = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  return tenths ? `${text}.${Math.floor(time.getMilliseconds() / 100)}` : text;
}

export function day(millis) {
  return new Date(millis).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}

/** 1 h 20 min, 12 min, 8.5 s. */
export function span(millis) {
  const seconds = millis / 1000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
}

export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let at = -1;
  do { bytes /= 1000; at += 1; } while (bytes >= 1000 && at < units.length - 1);
  return `${bytes.toFixed(bytes < 10 ? 1 : 0)} ${units[at]}`;
}

export function address(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  return query ? `/view/${path}?${query}` : `/view/${path}`;
}

/** The failure of a request, with what to do. */
export class Trouble extends Error {
  constructor({ message, hint = null, status = 0 }) {
    super(message);
    this.hint = hint;
    this.status = status;
  }
}

/** Asks for something, and throws Trouble unless it is there. */
export async function ask(path, parameters = {}, options = {}) {
  let answer;
  try {
    answer = await fetch(address(path, parameters), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble({ message: "The viewer does not answer", hint: "Is kvs still running?" });
  }
  if (answer.ok) return answer;
  let told = null;
  try { told = (await answer.json()).error; } catch { /* it has no words */ }
  throw new Trouble(told ?? { message: `The viewer answers with ${answer.status}`, status: answer.status });
}

export const pause = (millis, signal) => new Promise((done) => {
  const timer = setTimeout(done, millis);
  signal?.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
});
