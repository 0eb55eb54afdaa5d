import { useEffect, useState } from "preact/hooks";
import { fmtNumber } from "../i18n";
import { own } from "../model";
import { resting, type Queue } from "../queues";
import { useSelect, useUi } from "./context";
import { Icon } from "./icons";
import { Jobs } from "./jobs";
import { QueueCard } from "./queue";

const STALE_MS = 6_000; // the state comes each second

/** The operator's view, at #/queues. */
export function Queues() {
    const { app, lang } = useUi();
    const { t } = app;
    const list = useSelect((s) => s.queues.list);
    const problem = useSelect((s) => s.queues.problem);
    const waiting = list?.reduce((n, q) => n + q.waiting, 0) ?? 0;
    const running = list?.reduce((n, q) => n + q.running, 0) ?? 0;
    return (
        <section class="queues-view" aria-labelledby="library">
            <div class="toolbar">
                <h1 id="library" tabIndex={-1}>
                    {t("q.title")}
                    {list && <small>{t("q.sum", { waiting: fmtNumber(lang, waiting), running: fmtNumber(lang, running) })}</small>}
                </h1>
                <Age />
            </div>
            {problem?.status === 403 ? <Closed /> : null}
            {problem && problem.status !== 403 && (
                <p class="queues-problem error-text" role="alert" data-testid="queues-problem">
                    <Icon name="alert" />
                    {app.problem(problem)}
                </p>
            )}
            {list?.length === 0 && (
                <div class="notice" data-testid="queues-none">
                    <Icon name="queue" />
                    <h2>{t("q.none")}</h2>
                    <p>{t("q.noneHint")}</p>
                    <code>{`curl -X POST ${location.origin}/api/jobs -d '{"service":"demo","params":{}}'`}</code>
                </div>
            )}
            {list === null && !problem && <Skeleton />}
            {list ? <Lists list={list} /> : <ul class="queues" data-testid="queues" />}
            <div hidden={!list && !problem /* else what comes above would push them down */}>
                <Jobs />
            </div>
        </section>
    );
}

const openMost = () => (matchMedia("(max-width: 760px)").matches ? 2 : 6); // shown without being asked for: about a screen

/** Queues with something to look at, then those at rest. Each is a line that opens to its card; the few are open. */
function Lists({ list }: { list: readonly Queue[] }) {
    const { app, lang } = useUi();
    const busy = list.filter((q) => !resting(q));
    const rest = list.filter(resting);
    const [begun] = useState(() => ({ busy: busy.length <= openMost(), rest: rest.length <= openMost() })); // as it begins; then it is the reader's
    const [turned, setTurned] = useState<Readonly<Record<string, boolean>>>({});
    const fold = (q: Queue, open: boolean) => {
        const now = own(turned, q.service) ?? open;
        return { open: now, toggle: () => setTurned((t) => ({ ...t, [q.service]: !now })) };
    };
    return (
        <>
            <ul class="queues" data-testid="queues">
                {busy.map((q) => <QueueCard key={q.service} queue={q} fold={fold(q, begun.busy)} level="h2" />)}
            </ul>
            {rest.length > 0 && (
                <details class="resting" open={begun.rest} data-testid="queues-resting">
                    <summary>
                        <h2>{app.t("q.resting", { n: fmtNumber(lang, rest.length) })}</h2>
                    </summary>
                    <ul class="queues">
                        {rest.map((q) => <QueueCard key={q.service} queue={q} fold={fold(q, false)} level="h3" />)}
                    </ul>
                </details>
            )}
        </>
    );
}

/** How old the state on the screen is; says nothing while it is fresh. */
function Age() {
    const { app, lang } = useUi();
    const at = useSelect((s) => s.queues.at);
    const [now, setNow] = useState(Date.now());
    useEffect(() => {
        const timer = setInterval(() => setNow(Date.now()), 1000);
        return () => clearInterval(timer);
    }, []);
    const age = Math.max(0, now - at);
    if (!at || age < STALE_MS) return null;
    return (
        <span class="badge badge-PENDING" data-testid="queues-stale">
            {app.t("q.stale", { n: fmtNumber(lang, age / 1000) })}
        </span>
    );
}

function Closed() {
    const { app } = useUi();
    const { t } = app;
    return (
        <div class="notice" role="alert" data-testid="queues-closed">
            <Icon name="lock" />
            <h2>{t("q.closed")}</h2>
            <p>{t("q.closedText")}</p>
            <code>kervan ctl queues</code>
            <code>{`ssh -L 8080:127.0.0.1:${location.port || "80"} ${location.hostname}`}</code>
        </div>
    );
}

function Skeleton() {
    return (
        <div class="queues skeleton" aria-hidden="true">
            {[0, 1].map((i) => (
                <div key={i} class="queue">
                    <span class="bar" />
                    <span class="bar short" />
                </div>
            ))}
        </div>
    );
}
