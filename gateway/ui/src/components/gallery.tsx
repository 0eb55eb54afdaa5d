import { useEffect, useRef } from "preact/hooks";
import { Kept, useSelect, useUi } from "./context";
import { Empty } from "./empty";
import { Icon } from "./icons";
import { Tile } from "./tile";
import { noFilter } from "../state";

/** Arrow keys walk the tiles; rows are found by where the tiles stand. */
function onGridKey(e: KeyboardEvent): void {
    const list = e.currentTarget as HTMLElement;
    const links = [...list.querySelectorAll<HTMLElement>(".tile-link")];
    const at = links.indexOf(e.target as HTMLElement);
    if (at < 0 || e.altKey || e.ctrlKey || e.metaKey) return;
    const top = (i: number) => links[i]!.getBoundingClientRect().top;
    const firstTop = top(0);
    let columns = links.findIndex((_, i) => top(i) > firstTop + 1);
    if (columns < 1) columns = links.length;
    const step: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: links.length - 1 - at };
    const by = step[e.key];
    if (by === undefined) return;
    const next = links[at + by];
    e.preventDefault();
    next?.focus();
}

const tileOf = (id: string) => <Tile id={id} />;

export function Gallery() {
    const order = useSelect((s) => s.order);
    const loaded = useSelect((s) => s.loaded);
    const load = useSelect((s) => s.load);
    const failed = useSelect((s) => s.problem !== null);
    const filter = useSelect((s) => s.filter);
    const more = useSelect((s) => s.next !== null);
    const filtered = filter.folder !== "" || filter.status !== "" || filter.search !== "";
    if (order.length === 0) {
        if (failed) return <Failed />;
        if (!loaded) return <Skeleton />;
        if (more) return <More />; // the server looks at so many files for one answer: the next may have some
        if (filtered) return <NoMatch />;
        return <Empty />;
    }
    return (
        <>
            <ul class="grid" aria-busy={load === "first"} data-testid="gallery" onKeyDown={onGridKey}>
                {order.map((id) => (
                    <Kept key={id} of={id} make={tileOf} />
                ))}
            </ul>
            {failed ? <Failed /> : <More />}
        </>
    );
}

/** Fetches the next page when it comes near the screen; also a button, for keyboards and where there is no observer. */
function More() {
    const { app } = useUi();
    const next = useSelect((s) => s.next);
    const load = useSelect((s) => s.load);
    const shown = useSelect((s) => s.order.length);
    const ref = useRef<HTMLDivElement>(null);
    useEffect(() => {
        if (next === null || typeof IntersectionObserver === "undefined") return;
        const watch = new IntersectionObserver((seen) => seen.some((s) => s.isIntersecting) && app.more(), { rootMargin: "800px" });
        watch.observe(ref.current!);
        return () => watch.disconnect();
    }, [next, shown]); // a new observer looks again at once: a page may not have filled the screen
    if (next === null) return shown > 24 ? <p class="end">{app.t("list.end")}</p> : null;
    return (
        <div class="more" ref={ref}>
            <button type="button" class="btn" disabled={load === "more"} data-testid="load-more" onClick={() => app.more()}>
                {app.t(load === "more" ? "list.loading" : "list.more")}
            </button>
        </div>
    );
}

function Skeleton() {
    const { app } = useUi();
    return (
        <ul class="grid" aria-busy="true" aria-label={app.t("list.loading")} data-testid="skeleton">
            {Array.from({ length: 36 }, (_, i) => (
                <li class="tile skeleton" key={i} aria-hidden="true">
                    <span class="frame" />
                    <span class="bar" />
                    <span class="bar short" />
                </li>
            ))}
        </ul>
    );
}

function NoMatch() {
    const { app } = useUi();
    return (
        <div class="notice" data-testid="no-match">
            <Icon name="search" />
            <h2>{app.t("list.none")}</h2>
            <p>{app.t("list.noneHint")}</p>
            <button type="button" class="btn" onClick={() => app.filter(noFilter)}>
                {app.t("filter.clear")}
            </button>
        </div>
    );
}

function Failed() {
    const { app } = useUi();
    const problem = useSelect((s) => s.problem);
    const some = useSelect((s) => s.next !== null);
    return (
        <div class="notice notice-error" role="alert" data-testid="list-error">
            <Icon name="alert" />
            <h2>{app.t("list.error")}</h2>
            {problem && <p>{app.problem(problem)}</p>}
            <button type="button" class="btn" onClick={() => (some ? app.more() : void app.reload())}>
                <Icon name="retry" />
                {app.t("retry")}
            </button>
        </div>
    );
}
