// The page: the list of streams, and the stream that is shown.

import { $, Trouble, ask, clock, day, el, size, span, terms } from "./dom.js";
import { Player, mediaAddress } from "./player.js";
import { CallPlayer, Waveform } from "./call.js";
import { Timeline } from "./timeline.js";

const page = { info: {}, streams: [], shown: null, player: null, kind: null, isMuted: true, events: [], turn: 0 };

const timeline = new Timeline($("line"), { seek, view: viewChanged });
const wave = new Waveform($("wave"), timeline, seek);

// What the page says over the picture.

function say(title, text = "", { spins = false, action = null } = {}) {
  const message = $("message");
  message.hidden = title === null;
  if (title === null) return;
  message.replaceChildren(...[
    spins ? el("div", { class: "spin" }) : null,
    el("strong", {}, title),
    text ? el("p", {}, text) : null,
    action ? el("button", { class: "plain", onclick: action.run }, action.name) : null,
  ].filter(Boolean));
}

const sentence = (text) => text ? text.charAt(0).toUpperCase() + text.slice(1) : text;

function problem(trouble) {
  const again = { name: "Try again", run: () => page.shown && open(page.shown) };
  say(sentence(trouble.message), sentence(trouble.hint ?? ""), { action: again });
  showLag();
}

// Streams.

async function loadStreams() {
  try {
    const answer = await ask("streams");
    const { streams, more } = await answer.json();
    page.streams = streams;
    page.more = more;
    page.listTrouble = null;
  } catch (error) {
    page.listTrouble = error;
  }
  drawStreams();
  if (!page.shown) choose();
}

function drawStreams() {
  const wanted = $("filter").value.trim().toLowerCase();
  const found = page.streams.filter((stream) => (stream.title ?? stream.name).toLowerCase().includes(wanted));
  const links = found.map((stream) => {
    const kept = stream.retention === null || stream.retention === undefined ? "" : stream.retention ? `keeps ${span(stream.retention * 3_600_000)}` : "live only";
    const note = stream.error ? stream.error.message : stream.status === "ACTIVE" ? kept : [stream.status.toLowerCase(), kept].join(", ");
    const link = el("a", { href: `#${encodeURIComponent(stream.name)}`, title: stream.title ?? stream.name },
      el("b", {}, stream.title ?? stream.name), el("small", {}, note));
    if (stream.name === page.shown) link.setAttribute("aria-current", "page");
    return link;
  });
  const notes = [];
  if (page.listTrouble) notes.push(el("p", {}, `${page.listTrouble.message}. ${page.listTrouble.hint ?? ""}`));
  else if (!page.streams.length) notes.push(el("p", {}, "There are no streams."));
  else if (!links.length) notes.push(el("p", {}, "No stream has this in its name."));
  if (page.more) notes.push(el("p", {}, "There are more streams; these are the first thousand."));
  $("streams").replaceChildren(...links, ...notes);
}

function choose() {
  let wanted = "";
  try { wanted = decodeURIComponent(location.hash.slice(1)); } catch { /* not a name */ }
  if (wanted) {
    if (wanted !== page.shown) open(wanted);
  } else if (page.streams.length) {
    location.replace(`#${encodeURIComponent(page.streams[0].name)}`);
  } else if (page.listTrouble) {
    $("title").textContent = "Streams";
    say(sentence(page.listTrouble.message), page.listTrouble.hint ?? "", { action: { name: "Try again", run: loadStreams } });
  } else {
    $("title").textContent = "No streams";
    say("There are no streams yet", "Send one with a producer or with kvs put. To look around without a camera: kvs serve --demo.");
  }
}

function step(direction) {
  const at = page.streams.findIndex((stream) => stream.name === page.shown);
  const next = page.streams[at + direction];
  if (next) location.hash = encodeURIComponent(next.name);
}

// The stream that is shown.

async function open(name) {
  page.turn += 1;
  const turn = page.turn;
  page.player?.destroy();
  page.player = null;
  page.shown = name;
  page.kind = null;
  page.newest = null;
  page.events = [];
  page.number = null;
  clearTimeout(page.waveTimer);
  timeline.clear();
  wave.clear();
  drawDetails(null);
  drawEvents();
  drawStreams();
  $("side").classList.remove("open");
  const title = page.streams.find((stream) => stream.name === name)?.title ?? name;
  $("title").textContent = title;
  $("facts").textContent = "";
  document.title = `${title} · kvs`;
  setKind("video");
  say("Opening", "", { spins: true });
  let told;
  try {
    told = await (await ask("stream", { stream: name })).json();
  } catch (error) {
    if (turn === page.turn) problem(error);
    return;
  }
  if (turn !== page.turn) return;
  const { stream, newest, kind } = told;
  const kept = stream.retention ? `keeps ${span(stream.retention * 3_600_000)}` : "live only";
  $("facts").textContent = [kept, stream.created ? `since ${day(stream.created)}` : null].filter(Boolean).join(" · ");
  page.newest = newest;
  if (newest) drawDetails(newest);
  if (kind) setKind(kind);
  const ends = newest ? newest.producer + newest.duration : null;
  await timeline.open(name, ends);
  if (turn !== page.turn) return;
  makePlayer();
  // What ended long ago is not live: it waits to be played.
  page.isQuiet = !newest || Date.now() - ends > 60_000;
  if (ends && page.isQuiet) {
    timeline.tick(newest.producer);
    if (page.kind === "call") goLive();
    else page.player.live(name);
    say("Nothing arrives at the moment", `The newest media is of ${day(ends)}, ${clock(ends)}. Choose a time on the timeline to play it.`,
      { action: { name: "Play the last minute", run: () => seek(Math.max(ends - 60_000, timeline.spans.at(-1)?.[0] ?? 0)) } });
  } else {
    goLive();
    if (!newest) say("Nothing has arrived yet", "The stream is open. The picture comes with the first fragment.", { spins: true });
  }
}

/** The codecs of a media type, by the names that people know. */
function codecNames(type) {
  const known = [[/^(hvc1|hev1)/, "H.265"], [/^avc/, "H.264"], [/^mp4a/, "AAC"], [/^opus/i, "Opus"], [/^(alaw|ulaw)/, "G.711"]];
  const codecs = type.replace(/^.*codecs="|"$/g, "").split(/, */);
  return codecs.map((codec) => known.find(([pattern]) => pattern.test(codec))?.[1] ?? codec).join(" and ");
}

function setKind(kind) {
  const isCall = kind === "call";
  page.kind = kind;
  timeline.isSound = isCall || kind === "audio";
  $("stage").classList.toggle("call", isCall);
  $("video").hidden = isCall;
  $("wave").hidden = !isCall;
}

function makePlayer() {
  page.player?.destroy();
  const on = {
    fragment: (info) => {
      for (const event of info.discontinuities) noteEvent(info.producer ?? info.server, event.text, event.loss);
      if (page.player?.isLive) page.newest = info;
    },
    problem,
    unsupported: (type) => say("This browser cannot play the stream",
      `It has no decoder for ${codecNames(type)}. Download a range as MP4 and play it with another program, or use a browser that has the decoder.`,
      { action: { name: "Download", run: showSave } }),
    waiting: (text) => {
      if (text === null) say(null);
      else if (!page.isQuiet) say(text, "", { spins: true });
    },
    kind: (kind) => { setKind(kind); makePlayer(); goLive(); },
    nextStored: (millis) => timeline.nextStored(millis),
    storedUntil: (millis) => timeline.storedUntil(millis),
    newest: () => timeline.newest,
    atEnd: () => goLive(),
    playing: showPlaying,
  };
  page.player = page.kind === "call" ? new CallPlayer(on) : new Player($("video"), on);
  setMuted(page.isMuted);
}

function goLive() {
  if (!page.player) return;
  timeline.follow(true);
  page.player.live(page.shown);
  showPlaying();
}

function seek(millis) {
  if (!page.player || !page.shown) return;
  const stored = timeline.nextStored(millis);
  if (stored === null) {
    goLive();
    return;
  }
  page.isQuiet = false;
  timeline.follow(false);
  timeline.reveal(stored);
  timeline.tick(stored);
  if (page.player.mode === "stored" && page.player.seekBuffered(stored)) return;
  page.player.stored(page.shown, stored);
  showPlaying();
}

function jump(millis) {
  const now = page.player?.time ?? timeline.time;
  if (now !== null && now !== undefined) seek(now + millis);
}

function setMuted(isMuted) {
  page.isMuted = isMuted;
  $("video").muted = isMuted;
  if (page.player instanceof CallPlayer) page.player.mute(isMuted);
  $("mute").textContent = isMuted ? "Sound off" : "Sound on";
  $("mute").setAttribute("aria-pressed", String(isMuted));
}

function viewChanged() {
  if (page.kind !== "call" || !page.shown) return;
  clearTimeout(page.waveTimer);
  wave.draw();
  page.waveTimer = setTimeout(() => { if (page.kind === "call") wave.load(page.shown, timeline); }, 150);
}

// What is told of the picture.

function showPlaying() {
  const { player } = page;
  $("play").classList.toggle("playing", Boolean(player && !player.isPaused));
  $("live").classList.toggle("on", Boolean(player?.isLive));
  showLag();
}

function showLag() {
  const time = page.player?.time ?? null;
  const isLive = Boolean(page.player?.isLive);
  const lag = $("lag");
  const isOld = time !== null && Date.now() - time > 60_000;
  lag.classList.toggle("on", isLive && time !== null && !isOld);
  if (time === null) lag.textContent = "";
  else if (isLive && isOld) lag.textContent = `nothing newer for ${span(Date.now() - time)}`;
  else if (isLive) lag.textContent = `${((Date.now() - time) / 1000).toFixed(1)} s behind`;
  else lag.textContent = `${span(Math.max(Date.now() - time, 0))} ago`;
}

const CODECS = { "V_MPEG4/ISO/AVC": "H.264", "V_MPEGH/ISO/HEVC": "H.265" };

function drawDetails(info) {
  if (!info) {
    terms($("fragment"), []);
    $("tracks").replaceChildren(el("p", { class: "none" }, "No fragment yet"));
    terms($("tags"), []);
    return;
  }
  terms($("fragment"), [
    ["Number", info.number],
    ["Producer", info.producer === null ? null : `${day(info.producer)}, ${clock(info.producer, true)}`],
    ["Received", info.server === null ? null : `${clock(info.server, true)}${info.producer === null ? "" : `, ${((info.server - info.producer) / 1000).toFixed(1)} s later`}`],
    ["Duration", info.duration ? span(info.duration) : null],
    ["Size", `${size(info.bytes)}, ${info.packets} packets`],
    ["Bit rate", info.duration ? `${(info.bytes * 8 / info.duration / 1000).toFixed(2)} Mbit/s` : null],
  ]);
  $("tracks").replaceChildren(...info.tracks.map((track) => {
    const facts = [
      track.format ?? CODECS[track.codec] ?? track.codec, track.width ? `${track.width} × ${track.height}` : null,
      track.rate ? `${track.rate / 1000} kHz` : null, track.channels ? `${track.channels} ch` : null,
    ];
    return el("div", {}, el("b", {}, `${track.number} · ${track.name ?? track.kind}`), el("div", { class: "faint" }, facts.filter(Boolean).join(", ")));
  }));
  if (info.tags.length) terms($("tags"), info.tags);
  else $("tags").replaceChildren(el("dt", { class: "none" }, "none"));
}

function noteEvent(time, text, isLoss) {
  if (page.events.some((event) => event.time === time && event.text === text)) return;
  page.events.unshift({ time, text, isLoss });
  page.events.length = Math.min(page.events.length, 50);
  drawEvents();
}

function drawEvents() {
  const items = page.events.map((event) => el("li", {},
    el("time", {}, event.time ? clock(event.time) : ""), el("span", { class: event.isLoss ? "loss" : "" }, event.text)));
  $("events").replaceChildren(...(items.length ? items : [el("li", { class: "none" }, "none so far")]));
}

/** Shows the fragment of the picture. A call's is asked for. */
async function showFragment(time) {
  let info = page.player?.fragment ?? null;
  if (!info && page.kind === "call" && time) {
    const listed = timeline.fragmentAt(time);
    if (listed && listed[0] !== page.number && !page.isAsking) {
      page.isAsking = true;
      const turn = page.turn;
      try {
        const { fragment } = await (await ask("fragment", { stream: page.shown, number: listed[0] })).json();
        if (turn === page.turn) info = fragment;
      } catch { /* it may have aged out */ }
      page.isAsking = false;
    }
  }
  if (info && info.number !== page.number) {
    page.number = info.number;
    drawDetails(info);
  }
}

function tick() {
  const time = page.player?.time ?? null;
  if (time !== null) {
    $("clock").textContent = clock(time, true);
    $("clock").title = new Date(time).toISOString();
    timeline.tick(time);
    if (page.kind === "call") wave.draw(time);
    showFragment(time);
  } else {
    $("clock").textContent = "--:--:--";
  }
  showLag();
}

// Downloads.

function chosen() {
  const most = page.info.limits?.media ?? 3_600_000;
  const [start, end] = timeline.selection ?? [Math.max(timeline.from, timeline.spans[0]?.[0] ?? 0), Math.min(timeline.to, timeline.newest ?? timeline.to)];
  return end - start > most ? [end - most, end] : [start, end];
}

function showSave() {
  if (!page.shown) return;
  const [start, end] = chosen();
  const hasMedia = end > start && timeline.nextStored(start) !== null;
  $("saved").textContent = hasMedia
    ? `${timeline.selection ? "The selection" : "What the timeline shows"}: ${day(start)}, ${clock(start)} to ${clock(end)} (${span(end - start)}).`
    : "Nothing is stored in the part that the timeline shows.";
  $("trouble").hidden = true;
  $("mp4").disabled = !hasMedia || page.kind === "call";
  $("wav").disabled = !hasMedia;
  if (!$("save").open) $("save").showModal();
}

async function save(kind) {
  const [start, end] = chosen();
  const url = mediaAddress(`file.${kind}`, page.shown, start, end);
  const stop = new AbortController();
  try {
    // A link could not say why it fails.
    await ask(`file.${kind}`, { stream: page.shown, start: Math.floor(start), end: Math.ceil(end) }, { signal: stop.signal });
    stop.abort();
    const link = el("a", { href: url, download: "" });
    document.body.append(link);
    link.click();
    link.remove();
    $("save").close();
  } catch (error) {
    if (error.name === "AbortError") return;
    $("trouble").textContent = [sentence(error.message), error.hint].filter(Boolean).join(". ");
    $("trouble").hidden = false;
  }
}

function select(edge) {
  const time = page.player?.time ?? timeline.time;
  if (time === null || time === undefined) return;
  const [start, end] = timeline.selection ?? [time, time];
  timeline.selection = edge === 0 ? [time, Math.max(end, time)] : [Math.min(start, time), time];
  timeline.draw();
}

// Keys, buttons, theme.

function switchTheme() {
  const isDark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  setTheme(isDark ? "light" : "dark");
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("theme", theme); } catch { /* it is not kept */ }
  timeline.draw();
  wave.draw();
}

const toggle = () => { page.player?.toggle(); setTimeout(showPlaying, 50); };
const showKeys = () => { if (!$("keys").open) $("keys").showModal(); };
const fullScreen = () => document.fullscreenElement ? document.exitFullscreen() : $("stage").requestFullscreen().catch(() => {});
const fragment = (direction) => {
  const time = page.player?.time ?? timeline.time;
  const next = time === null || time === undefined ? undefined : timeline.neighbour(time, direction);
  if (next !== undefined) seek(next);
};

const KEYS = {
  " ": toggle, ArrowLeft: () => jump(-5000), ArrowRight: () => jump(5000), ",": () => fragment(-1), ".": () => fragment(1),
  l: goLive, "+": () => timeline.zoom(0.6), "=": () => timeline.zoom(0.6), "-": () => timeline.zoom(1 / 0.6), "[": () => select(0),
  "]": () => select(1), d: showSave, j: () => step(1), k: () => step(-1), m: () => setMuted(!page.isMuted), f: fullScreen,
  t: switchTheme, "?": showKeys,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target instanceof HTMLInputElement) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const run = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!run || (event.key === " " && event.target instanceof HTMLButtonElement && event.target.id !== "play")) return;
  event.preventDefault();
  run();
});

const onClick = { play: toggle, back: () => jump(-5000), forward: () => jump(5000), live: goLive, mute: () => setMuted(!page.isMuted),
  download: showSave, in: () => timeline.zoom(0.6), out: () => timeline.zoom(1 / 0.6), help: showKeys, theme: switchTheme,
  menu: () => $("side").classList.toggle("open"), mp4: () => save("mp4"), wav: () => save("wav"), video: toggle };
for (const [id, run] of Object.entries(onClick)) $(id).addEventListener("click", run);
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}
document.querySelector("main").addEventListener("pointerdown", (event) => {
  if (!event.target.closest("#menu")) $("side").classList.remove("open");
});
$("filter").addEventListener("input", drawStreams);
window.addEventListener("hashchange", choose);
window.addEventListener("resize", () => { timeline.draw(); viewChanged(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { timeline.draw(); wave.draw(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) timeline.load(); });

async function start() {
  let theme = null;
  try { theme = localStorage.getItem("theme"); } catch { /* the system's */ }
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  setMuted(true);
  drawEvents();
  try {
    page.info = await (await ask("info")).json();
    timeline.hasThumbnails = page.info.thumbnails;
    timeline.longest = page.info.limits.range;
    $("foot").textContent = `kinesis-video ${page.info.version} · ? for keys`;
  } catch (error) {
    if (error instanceof Trouble) problem(error);
  }
  await loadStreams();
  setInterval(tick, 100);
  setInterval(loadStreams, 15_000);
  setInterval(() => { if (!document.hidden && page.shown && timeline.stream) timeline.load(); }, 3000);
  // Tests look here.
  window.kvs = { page, timeline, seek, goLive };
}

start();
