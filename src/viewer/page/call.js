// Calls: the sound of both parties, and their waveform.

import { Trouble, ask, clock, pause } from "./dom.js";

/** The milliseconds of sound that are asked for at once. */
const WINDOW = 10_000;
const SHORTEST = 1_000;
/** The seconds that are scheduled ahead. */
const AHEAD = 4;
/** How far behind the newest sound live playing begins, in milliseconds. */
const CUSHION = 3_000;

/** Plays stored sound without breaks. It has the methods of Player. */
export class CallPlayer {
  constructor(on) {
    this.on = on;
    this.mode = "idle";
    this.isMuted = true;
    this.at = null;
  }

  get isLive() { return this.mode === "live"; }
  get isPaused() { return !this.context || this.context.state !== "running"; }

  get time() {
    if (this.at === null) return null;
    if (!this.context) return this.at;
    let time = this.at;
    for (const piece of this.pieces) {
      const played = this.context.currentTime - piece.from;
      if (played >= 0) time = piece.start + Math.min(played, piece.lasts) * 1000;
    }
    return time;
  }

  get fragment() { return null; }
  seekBuffered() { return false; }

  stop() {
    this.mode = "idle";
    this.abort?.abort();
    this.abort = null;
    this.context?.close().catch(() => {});
    this.context = null;
    this.pieces = [];
  }

  destroy() { this.stop(); }

  mute(isMuted) {
    this.isMuted = isMuted;
    if (this.gain) this.gain.gain.value = isMuted ? 0 : 1;
  }

  live(stream) {
    const newest = this.on.newest();
    return this.#play("live", stream, newest === null ? Date.now() - CUSHION : newest - CUSHION);
  }

  stored(stream, from) { return this.#play("stored", stream, from); }

  async #play(mode, stream, from) {
    const wasPaused = this.mode !== "idle" && this.isPaused;
    this.stop();
    this.mode = mode;
    this.at = from;
    this.abort = new AbortController();
    const { signal } = this.abort;
    const context = new AudioContext({ sampleRate: 8000 });
    this.context = context;
    this.gain = context.createGain();
    this.gain.gain.value = this.isMuted ? 0 : 1;
    this.gain.connect(context.destination);
    if (wasPaused) await context.suspend();
    context.addEventListener("statechange", () => this.on.playing());
    this.on.waiting(null);
    let next = from;
    let ends = context.currentTime + 0.1;
    while (!signal.aborted) {
      if (ends - context.currentTime > AHEAD) {
        await pause(200, signal);
        continue;
      }
      const stored = this.on.nextStored(next);
      const until = stored === null ? 0 : Math.min(Math.max(next, stored) + WINDOW, this.on.storedUntil(Math.max(next, stored)));
      const start = stored === null ? 0 : Math.max(next, stored);
      if (stored === null || (until - start < SHORTEST && mode === "live")) {
        await pause(400, signal);
        continue;
      }
      try {
        const answer = await ask("file.wav", { stream, start: Math.floor(start), end: Math.ceil(Math.max(until, start + 1)) }, { signal });
        const bytes = await answer.arrayBuffer();
        if (signal.aborted) return;
        ends = Math.max(ends, context.currentTime + 0.05);
        const sound = samples(context, bytes);
        if (sound) {
          const node = new AudioBufferSourceNode(context, { buffer: sound });
          node.connect(this.gain);
          node.start(ends);
          this.pieces.push({ from: ends, start, lasts: sound.duration });
          if (this.pieces.length > 20) this.pieces.shift();
          ends += sound.duration;
        }
        next = Math.max(until, start + 1);
      } catch (error) {
        if (signal.aborted || error.name === "AbortError") return;
        if (error instanceof Trouble && error.status === 404) next = start + SHORTEST;
        else if (error instanceof Trouble && error.status && error.status < 500) {
          this.on.problem(error);
          return;
        } else await pause(2000, signal);
      }
    }
  }

  play() { this.context?.resume().catch(() => {}); }

  toggle() {
    if (this.isPaused) this.play();
    else this.context.suspend().catch(() => {});
  }
}

/** The samples of a WAV file of 16 bits, two channels. */
function samples(context, bytes) {
  const all = new Int16Array(bytes.slice(44, bytes.byteLength - (bytes.byteLength - 44) % 4));
  const frames = all.length / 2;
  if (!frames) return null;
  const buffer = context.createBuffer(2, frames, 8000);
  for (const party of [0, 1]) {
    const channel = buffer.getChannelData(party);
    for (let at = 0; at < frames; at += 1) channel[at] = all[2 * at + party] / 32768;
  }
  return buffer;
}

/** Draws the waveform of the time that the timeline shows. */
export class Waveform {
  constructor(canvas, timeline, onSeek) {
    this.canvas = canvas;
    this.timeline = timeline;
    this.shown = null;
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect();
      onSeek(timeline.from + (event.clientX - box.left) / box.width * (timeline.to - timeline.from));
    });
  }

  clear() {
    this.shown = null;
    this.stream = null;
    this.abort?.abort();
  }

  /** Fetches what the timeline shows. */
  async load(stream, { from, to }) {
    if (this.stream !== stream) this.shown = null;
    this.stream = stream;
    if (to - from > 3_600_000) {
      this.note = "Zoom in to see the waveform";
      this.draw();
      return;
    }
    this.abort?.abort();
    if ((this.timeline.nextStored(from) ?? to) >= to) {
      this.shown = null;
      this.note = "No sound is stored here";
      this.draw();
      return;
    }
    this.abort = new AbortController();
    const { signal } = this.abort;
    const points = Math.max(100, Math.min(Math.round(this.canvas.clientWidth), 4000));
    try {
      const answer = await ask("peaks", { stream, start: Math.floor(from), end: Math.ceil(to), points }, { signal });
      const shown = await answer.json();
      if (signal.aborted) return;
      this.shown = shown;
      this.note = null;
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      this.note = error.status === 404 ? "No sound is stored here" : error.message;
      if (error.status === 404) this.shown = null;
    }
    this.draw();
  }

  draw(time = this.last) {
    this.last = time;
    const { canvas, timeline } = this;
    const { context, width, height, color } = prepare(canvas);
    context.clearRect(0, 0, width, height);
    const left = (millis) => (millis - timeline.from) / (timeline.to - timeline.from) * width;
    const lane = (height - 26) / 2;
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "top";
    const names = ["Customer", "Agent"];
    for (const party of [0, 1]) {
      const middle = 20 + lane * (party + 0.5);
      context.fillStyle = color("--rule");
      context.fillRect(0, middle, width, 1);
      const peaks = this.shown && (party ? this.shown.agent : this.shown.customer);
      if (peaks) {
        const { start, end } = this.shown;
        const count = peaks.length / 2;
        const wide = Math.max((end - start) / count / (timeline.to - timeline.from) * width, 1);
        context.fillStyle = color(party ? "--stored" : "--accent");
        for (let at = 0; at < count; at += 1) {
          const low = peaks[2 * at];
          if (low === null) continue;
          const x = left(start + at * (end - start) / count);
          if (x < -2 || x > width) continue;
          const top = middle - peaks[2 * at + 1] / 100 * lane * 0.48 * 2.2;
          const bottom = middle - low / 100 * lane * 0.48 * 2.2;
          const limit = lane * 0.48;
          const y = Math.max(top, middle - limit);
          context.fillRect(x, y, wide, Math.max(Math.min(bottom, middle + limit) - y, 1));
        }
      }
      context.fillStyle = color("--faint");
      context.textAlign = "left";
      context.fillText(names[party], 10, 20 + lane * party + 4);
    }
    for (const contact of this.shown?.contacts ?? []) {
      const x = left(contact.start);
      if (x > width || left(contact.end) < 0) continue;
      context.fillStyle = color("--rule");
      if (x > 0) context.fillRect(x, 0, 1, height);
      context.save();
      context.beginPath();
      context.rect(Math.max(x, 0), 0, Math.min(left(contact.end), width) - Math.max(x, 0) - 6, 20);
      context.clip();
      context.fillStyle = color("--faint");
      context.fillText(contact.id, Math.max(x, 0) + 10, 4);
      context.restore();
    }
    if (this.note && !this.shown) {
      context.fillStyle = color("--faint");
      context.textAlign = "center";
      context.fillText(this.note, width / 2, height / 2 - 6);
    }
    if (time) {
      const x = left(time);
      context.fillStyle = color("--ink");
      context.fillRect(x - 0.5, 0, 1.5, height);
      context.textAlign = x > width - 70 ? "right" : "left";
      context.textBaseline = "bottom";
      context.fillText(clock(time, true), x + (x > width - 70 ? -6 : 6), height - 2);
    }
  }
}

/** Sizes a canvas to its pixels. */
export function prepare(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  const style = getComputedStyle(document.documentElement);
  return { context, width, height, color: (name) => style.getPropertyValue(name).trim() };
}
