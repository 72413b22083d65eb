// The timeline: what is stored, with gaps. It zooms, pans, scrubs and selects.

import { $, address, ask, clock, day, span } from "./dom.js";
import { prepare } from "./call.js";

const SHORTEST = 10_000;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200].map((s) => s * 1000);
/** Where the newest media stands while the timeline follows it. */
const FOLLOWS = 0.94;

export class Timeline {
  /** `on`: seek(millis), view(). */
  constructor(canvas, on) {
    this.canvas = canvas;
    this.on = on;
    this.longest = 24 * 3_600_000;
    this.hasThumbnails = true;
    this.clear();
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  clear() {
    this.stream = null;
    this.spans = [];
    this.fragments = null;
    this.time = null;
    this.selection = null;
    this.follows = true;
    this.loaded = null;
    this.to = Date.now() + 10_000;
    this.from = this.to - 180_000;
    this.abort?.abort();
    this.draw();
  }

  /** Shows another stream. */
  async open(stream, newest) {
    this.clear();
    this.stream = stream;
    if (newest) this.#place(newest);
    await this.load();
  }

  #place(newest) {
    const width = this.to - this.from;
    this.to = newest + (1 - FOLLOWS) * width;
    this.from = this.to - width;
  }

  get newest() { return this.spans.at(-1)?.[1] ?? null; }

  /** The first stored time at or after a time. `null` if there is none. */
  nextStored(millis) {
    const found = this.spans.find(([, end]) => end > millis + 20);
    return found ? Math.max(found[0], millis) : null;
  }

  /** Until when media is stored without a gap from a time on. */
  storedUntil(millis) {
    return this.spans.find(([start, end]) => start <= millis && end > millis)?.[1] ?? millis;
  }

  /** Follows the newest media, or stays. */
  follow(follows) {
    this.follows = follows;
    if (follows && this.newest) this.#place(Math.max(this.newest, this.time ?? 0));
    this.#changed();
  }

  /** Fetches what is stored around the view. */
  async load() {
    if (!this.stream) return;
    this.abort?.abort();
    this.abort = new AbortController();
    const { signal } = this.abort;
    const width = this.to - this.from;
    const more = Math.max(0, Math.min(width, (this.longest - width) / 2 - 1000));
    const [start, end] = [Math.max(Math.floor(this.from - more), 0), Math.ceil(this.to + more)];
    try {
      const answer = await ask("spans", { stream: this.stream, start, end }, { signal });
      const { spans, fragments } = await answer.json();
      if (signal.aborted) return;
      // What is known outside of the range stays.
      const before = this.spans.filter((known) => known[1] < start);
      const after = this.spans.filter((known) => known[0] > end);
      this.spans = [...before, ...spans, ...after];
      this.fragments = fragments;
      this.loaded = { start, end };
      this.failed = null;
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      this.failed = error;
    }
    if (this.follows && this.newest && !this.isHeld) this.#place(Math.max(this.newest, this.time ?? 0));
    this.draw();
    this.on.view();
  }

  #changed() {
    this.draw();
    this.on.view();
    clearTimeout(this.timer);
    const isCovered = this.loaded && this.from >= this.loaded.start && this.to <= this.loaded.end;
    const isFine = this.fragments || this.to - this.from > 900_000;
    if (!isCovered || !isFine) this.timer = setTimeout(() => this.load(), 200);
  }

  zoom(factor, at = this.time ?? this.newest ?? (this.from + this.to) / 2) {
    const pivot = Math.min(Math.max(at, this.from), this.to);
    const width = Math.min(Math.max((this.to - this.from) * factor, SHORTEST), this.longest);
    const share = (pivot - this.from) / (this.to - this.from);
    this.from = pivot - share * width;
    this.to = this.from + width;
    if (this.follows && this.newest) this.#place(Math.max(this.newest, this.time ?? 0));
    this.#changed();
  }

  /** Moves the view so that a time is in it. */
  reveal(millis) {
    const width = this.to - this.from;
    if (millis >= this.from + width * 0.02 && millis <= this.to - width * 0.02) return;
    this.from = millis - width / 2;
    this.to = this.from + width;
    this.#changed();
  }

  /** The start of the fragment before or after a time. */
  neighbour(millis, direction) {
    const starts = (this.fragments ?? []).map(([, start]) => start);
    return direction > 0 ? starts.find((start) => start > millis + 20) : starts.findLast((start) => start < millis - 500);
  }

  fragmentAt(millis) {
    return (this.fragments ?? []).findLast(([, start]) => start <= millis) ?? null;
  }

  #listen() {
    const { canvas } = this;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return this.from + (event.clientX - box.left) / box.width * (this.to - this.from);
    };
    let drag = null;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.#pan(event.deltaX / canvas.clientWidth * (this.to - this.from));
      else this.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 200), at(event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      drag = { x: event.clientX, from: this.from, to: this.to, start: at(event), selects: event.shiftKey, moved: false };
      this.isHeld = true;
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!drag) {
        this.#hover(event, at(event));
        return;
      }
      if (Math.abs(event.clientX - drag.x) > 4) drag.moved = true;
      if (!drag.moved) return;
      if (drag.selects) {
        this.selection = [Math.min(drag.start, at(event)), Math.max(drag.start, at(event))];
        this.draw();
      } else {
        const shift = (drag.x - event.clientX) / canvas.clientWidth * (drag.to - drag.from);
        this.from = drag.from + shift;
        this.to = drag.to + shift;
        this.follows = false;
        this.#changed();
      }
      this.#leave();
    });
    const end = (event) => {
      const wasClick = drag && !drag.moved && event.type === "pointerup";
      drag = null;
      this.isHeld = false;
      if (wasClick) this.on.seek(at(event));
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => this.#leave());
  }

  #pan(millis) {
    this.from += millis;
    this.to += millis;
    this.follows = false;
    this.#changed();
  }

  #hover(event, millis) {
    if (event.pointerType === "touch") return;
    const [figure, picture] = [$("hover"), $("thumb")];
    const box = this.canvas.getBoundingClientRect();
    this.pointer = millis;
    const isStored = this.storedUntil(millis) > millis;
    $("when").textContent = isStored ? clock(millis, true) : `${clock(millis)} · nothing stored`;
    const x = Math.min(Math.max(event.clientX - box.left + 12, 92), box.width - 68);
    figure.style.left = `${x}px`;
    figure.hidden = false;
    picture.hidden = !(isStored && this.hasThumbnails && !this.isSound);
    if (!picture.hidden) {
      clearTimeout(this.thumbTimer);
      // A step of the view per picture, so that moving slowly asks for few.
      const step = Math.max(1000, (this.to - this.from) / 60);
      const wanted = Math.max(Math.floor(millis / step) * step, this.nextStored(millis - step) ?? 0);
      this.thumbTimer = setTimeout(() => {
        picture.src = address("thumbnail", { stream: this.stream, at: Math.round(wanted) });
      }, 90);
    }
    this.draw();
  }

  #leave() {
    clearTimeout(this.thumbTimer);
    this.pointer = null;
    $("hover").hidden = true;
    this.draw();
  }

  /** Shows the time of the picture. */
  tick(time) {
    this.time = time;
    if (this.follows && time && !this.isHeld && time > this.to - (1 - FOLLOWS) * (this.to - this.from)) {
      this.#place(time);
      this.on.view();
    }
    this.draw();
  }

  draw() {
    const { context, width, height, color } = prepare(this.canvas);
    if (!width) return;
    const view = this.to - this.from;
    const left = (millis) => (millis - this.from) / view * width;
    context.clearRect(0, 0, width, height);
    const [top, tall] = [6, 30];
    context.fillStyle = color("--void");
    context.beginPath();
    context.roundRect(0, top, width, tall, 4);
    context.fill();
    context.save();
    context.clip();
    // Gaps are between what is stored. Before and after is only nothing.
    const [first, last] = [this.spans[0]?.[0], this.spans.at(-1)?.[1]];
    if (first !== undefined) {
      context.strokeStyle = color("--faint");
      context.globalAlpha = 0.35;
      context.lineWidth = 1;
      context.save();
      context.beginPath();
      context.rect(left(first), top, left(last) - left(first), tall);
      context.clip();
      context.beginPath();
      for (let x = -tall; x < width + tall; x += 7) {
        context.moveTo(x, top + tall);
        context.lineTo(x + tall, top);
      }
      context.stroke();
      context.restore();
      context.globalAlpha = 1;
    }
    context.fillStyle = color("--stored");
    for (const [start, end] of this.spans) {
      if (end < this.from || start > this.to) continue;
      const x = Math.max(left(start), 0);
      context.clearRect(x, top, Math.max(Math.min(left(end), width) - x, 1), tall);
      context.fillRect(x, top, Math.max(Math.min(left(end), width) - x, 1), tall);
    }
    if (this.fragments && this.fragments.length) {
      const shortest = view / width * 7;
      context.fillStyle = color("--card");
      context.globalAlpha = 0.55;
      for (const [, start, lasts] of this.fragments) {
        if (start >= this.from && start <= this.to && lasts > shortest) context.fillRect(left(start) - 0.5, top, 1, tall);
      }
      context.globalAlpha = 1;
    }
    if (this.selection) {
      const [start, end] = this.selection;
      context.fillStyle = color("--accent");
      context.globalAlpha = 0.35;
      context.fillRect(left(start), top, left(end) - left(start), tall);
      context.globalAlpha = 1;
      context.fillRect(left(start) - 1, top, 2, tall);
      context.fillRect(left(end) - 1, top, 2, tall);
    }
    context.restore();
    this.#ticks(context, width, top + tall, left, color);
    if (this.pointer) {
      context.fillStyle = color("--faint");
      context.fillRect(left(this.pointer) - 0.5, top, 1, tall);
    }
    if (this.time !== null) {
      const x = left(this.time);
      context.fillStyle = color("--ink");
      context.fillRect(x - 1, top - 4, 2, tall + 8);
      context.beginPath();
      context.arc(x, top - 2, 4, 0, 7);
      context.fill();
    }
    this.#describe(view);
  }

  #ticks(context, width, y, left, color) {
    const view = this.to - this.from;
    const step = STEPS.find((step) => step / view * width > 76) ?? STEPS.at(-1);
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "top";
    context.textAlign = "center";
    const shift = new Date(this.from).getTimezoneOffset() * 60_000;
    for (let at = Math.ceil((this.from - shift) / step) * step + shift; at < this.to; at += step) {
      const x = left(at);
      context.fillStyle = color("--rule");
      context.fillRect(x - 0.5, y + 2, 1, 5);
      if (x < 28 || x > width - 28) continue;
      context.fillStyle = color("--faint");
      context.fillText(step < 60_000 ? clock(at) : clock(at).slice(0, 5), x, y + 9);
    }
  }

  #describe(view) {
    const held = this.spans.reduce((sum, [start, end]) => sum + Math.max(Math.min(end, this.to) - Math.max(start, this.from), 0), 0);
    const gaps = this.spans.filter(([, end], at) => end > this.from && this.spans[at + 1]?.[0] < this.to).length;
    const told = this.failed ? this.failed.message
      : held ? `${span(held)} stored${gaps ? `, ${gaps} ${gaps > 1 ? "gaps" : "gap"}` : ""}` : "nothing stored here";
    $("range").textContent = `${day(this.from)} · ${span(view)} shown · ${told}`;
    this.canvas.setAttribute("aria-valuetext", this.time ? clock(this.time) : told);
  }
}
