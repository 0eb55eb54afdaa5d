import type { ComponentChildren } from "preact";
import { fmtMs, fmtNumber, fmtPercent, fmtSeconds, hasKey } from "../i18n";
import { own } from "../model";
import { lanes, TREND, type Queue, type Spread, type SteerAction } from "../queues";
import { useSelect, useUi } from "./context";
import { Icon, type IconName } from "./icons";

export interface Fold {
    open: boolean;
    toggle(): void;
}

/** One queue: what waits, what runs, how fast, and what an operator may do about it. Closed it is a line. */
export function QueueCard({ queue: q, fold, level: Heading }: { queue: Queue; fold: Fold; level: "h2" | "h3" }) {
    const { app, lang } = useUi();
    const { t } = app;
    const selected = useSelect((s) => s.queues.filter.service === q.service);
    const id = `queue-${q.service}`;
    const show = (status: "" | "error") => {
        app.queues.filter({ service: q.service, status, lane: "" });
        document.getElementById("jobs")?.scrollIntoView({ block: "start" });
        document.getElementById("jobs")?.focus({ preventScroll: true });
    };
    const dead = <Dead queue={q} show={() => show("error")} />;
    return (
        <li class={`queue ${fold.open ? "" : "queue-row"} ${selected ? "queue-selected" : ""}`} data-testid="queue" data-service={q.service} aria-labelledby={id}>
            <div class="queue-head">
                <Heading id={id}>
                    <button type="button" class="fold" data-testid="queue-fold" aria-expanded={fold.open} onClick={fold.toggle}>
                        <Icon name="down" />
                        {q.service}
                    </button>
                </Heading>
                <span class={`badge health health-${q.health}`} data-testid="queue-health" data-health={q.health}>
                    {hasKey(`q.health.${q.health}`) ? t(`q.health.${q.health}` as never) : q.health}
                </span>
                {fold.open ? (
                    <Steer queue={q} />
                ) : (
                    <span class="row-facts">
                        {q.health !== "idle" && (
                            <>
                                {t("q.waiting")} <b>{fmtNumber(lang, q.waiting)}</b> · {t("q.running")} <b>{fmtNumber(lang, q.running)}</b> ·{" "}
                            </>
                        )}
                        {t("q.workers")} <b>{fmtNumber(lang, q.workers)}</b>
                        {q.dead_letters !== 0 && (
                            <>
                                {" · "}
                                {t("q.dead")} {dead}
                            </>
                        )}
                    </span>
                )}
            </div>
            {fold.open && <Body queue={q} dead={dead} selected={selected} show={() => show("")} />}
        </li>
    );
}

function Body({ queue: q, dead, selected, show }: { queue: Queue; dead: ComponentChildren; selected: boolean; show(): void }) {
    const { app, lang } = useUi();
    const { t } = app;
    return (
        <>
            <div class="queue-main">
                <dl class="figures">
                    <Figure name={t("q.waiting")} value={fmtNumber(lang, q.waiting)} testid="queue-waiting" />
                    <Figure name={t("q.running")} value={fmtNumber(lang, q.running)} testid="queue-running" />
                    <Figure name={t("q.workers")} value={fmtNumber(lang, q.workers)} testid="queue-workers" warn={q.workers === 0 && q.waiting > 0} />
                    <Figure name={t("q.rate")} value={fmtNumber(lang, q.throughput.s10, q.throughput.s10 < 10 ? 1 : 0)} testid="queue-rate" />
                </dl>
                <Trend service={q.service} />
            </div>
            <LaneBar queue={q} />
            <div class="queue-more">
                <Spreads queue={q} />
                <dl class="qfacts">
                    <Fact name={t("q.oldest")} value={q.oldest_waiting_s === null ? "–" : fmtSeconds(lang, q.oldest_waiting_s)} />
                    <Fact name={t("q.delayed")} value={fmtNumber(lang, q.delayed)} />
                    <Fact name={t("q.errors")} value={fmtPercent(lang, Math.round(q.error_rate * 1000) / 10)} />
                    <Fact name={t("q.dead")} value={dead} />
                </dl>
            </div>
            <div class="queue-foot">
                <p class="remedy" data-testid="queue-remedy">
                    {lang === "tr" ? q.remedy_tr : q.remedy}
                </p>
                <button type="button" class="btn btn-quiet btn-small" data-testid="queue-jobs" aria-pressed={selected} onClick={show}>
                    {t("q.showJobs")}
                </button>
            </div>
        </>
    );
}

/** How many dead letters; leads to them. */
function Dead({ queue: q, show }: { queue: Queue; show(): void }) {
    const { app, lang } = useUi();
    const n = q.dead_letters ?? 0;
    return (
        <button type="button" class={`link ${n > 0 ? "error-text" : ""}`} data-testid="queue-dead" disabled={n === 0} aria-label={app.t("q.showDead", { n, name: q.service })} onClick={show}>
            {q.dead_letters === null ? "–" : `${fmtNumber(lang, n)}${n >= 10_000 ? "+" : ""}`}
        </button>
    );
}

function Steer({ queue: q }: { queue: Queue }) {
    const { app } = useUi();
    const { t } = app;
    const actions: [SteerAction, IconName][] = q.paused || q.draining ? [["resume", "play"]] : [];
    if (!q.paused) actions.push(["pause", "pause"]);
    if (!q.draining && q.own === false) actions.push(["drain", "drain"]);
    return (
        <div class="queue-tools">
            {actions.map(([action, icon]) => (
                <button
                    key={action}
                    type="button"
                    class="btn btn-small"
                    data-testid={`queue-${action}`}
                    aria-label={`${t(`q.${action}`)}: ${q.service}`}
                    onClick={() => app.store.dispatch({ type: "q/ask", asking: { service: q.service, action } })}
                >
                    <Icon name={icon} />
                    <span>{t(`q.${action}`)}</span>
                </button>
            ))}
        </div>
    );
}

function Figure({ name, value, testid, warn }: { name: string; value: string; testid: string; warn?: boolean }) {
    return (
        <div>
            <dt>{name}</dt>
            <dd data-testid={testid} class={warn ? "error-text" : ""}>
                {value}
            </dd>
        </div>
    );
}

function Fact({ name, value }: { name: string; value: ComponentChildren }) {
    return (
        <div>
            <dt>{name}</dt>
            <dd>{value}</dd>
        </div>
    );
}

/** What waits, by lane. The bar is a picture of the numbers beside it. */
function LaneBar({ queue: q }: { queue: Queue }) {
    const { app, lang } = useUi();
    return (
        <div class="lanes">
            <span class="lane-bar" aria-hidden="true">
                {lanes.map((lane) => q.lanes[lane] > 0 && <i key={lane} class={`lane-${lane}`} style={{ flexGrow: q.lanes[lane] }} />)}
            </span>
            <ul>
                {lanes.map((lane) => (
                    <li key={lane} class={`lane-${lane}`} data-testid={`lane-${lane}`}>
                        {app.t(`lane.${lane}`)} <b>{fmtNumber(lang, q.lanes[lane])}</b>
                    </li>
                ))}
            </ul>
        </div>
    );
}

function Spreads({ queue: q }: { queue: Queue }) {
    const { app, lang } = useUi();
    const row = (name: string, s: Spread | null) => (
        <tr>
            <th scope="row">{name}</th>
            {(["p50", "p90", "p99"] as const).map((p) => (
                <td key={p}>{s ? fmtMs(lang, s[p]) : "–"}</td>
            ))}
        </tr>
    );
    return (
        <table class="spreads">
            <thead>
                <tr>
                    <th scope="col">
                        <span class="offscreen">{app.t("q.measure")}</span>
                    </th>
                    <th scope="col">p50</th>
                    <th scope="col">p90</th>
                    <th scope="col">p99</th>
                </tr>
            </thead>
            <tbody>
                {row(app.t("q.wait"), q.wait_ms)}
                {row(app.t("q.service"), q.service_ms)}
            </tbody>
        </table>
    );
}

/** Jobs ended a second, over the last minute and a half. */
function Trend({ service }: { service: string }) {
    const { app, lang } = useUi();
    const trend = useSelect((s) => own(s.queues.trend, service)) ?? [];
    const most = Math.max(0, ...trend);
    const top = Math.max(1, most);
    const x = (i: number) => ((TREND - trend.length + i) / (TREND - 1)) * 200;
    const line = trend.map((v, i) => `${x(i).toFixed(1)},${(39 - (v / top) * 37).toFixed(1)}`).join(" ");
    return (
        <figure class="trend">
            <figcaption aria-hidden="true">{app.t("q.top", { n: fmtNumber(lang, most, most < 10 ? 1 : 0) })}</figcaption>
            <svg viewBox="0 0 200 40" preserveAspectRatio="none" role="img" aria-label={app.t("q.trend", { n: fmtNumber(lang, most, 1) })}>
                {trend.length > 1 && <polygon class="trend-fill" points={`${x(0).toFixed(1)},40 ${line} 200,40`} />}
                {trend.length > 1 && <polyline class="trend-line" points={line} />}
            </svg>
        </figure>
    );
}
