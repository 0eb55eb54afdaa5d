// Where the focus goes when what had it is gone or disabled: to what stands beside it, not to the top of the page.
const TAKERS = "a[href], button:not(:disabled), select, [tabindex]";

/** An element and all it stands in, while it still does. */
export function pathOf(element: Element | null): Element[] {
    const path: Element[] = [];
    for (let e = element; e && e !== document.body; e = e.parentElement) path.push(e);
    return path;
}

/** Into the smallest part of the page that is still there. Among many alike none is the neighbour: nothing is done. */
export function refocus(path: readonly Element[]): void {
    const home = path.slice(1).find((e) => e.isConnected && e.querySelector(TAKERS));
    if (!home || home.matches("ul, tbody, main")) return;
    const next = home.id === "app" ? document.getElementById("library") : home.querySelector<HTMLElement>(TAKERS);
    next?.focus({ preventScroll: true });
}

/** A button may go with what it did, or be disabled by it. */
export function guardFocus(app: Element): void {
    let path: Element[] = [];
    addEventListener("focusin", (e) => (path = pathOf(e.target as Element)));
    new MutationObserver(() => {
        const lost = path[0] as HTMLButtonElement | undefined;
        const at = document.activeElement;
        if (!lost || (lost.isConnected && !lost.disabled) || (at !== lost && at !== document.body)) return;
        refocus(path);
    }).observe(app, { subtree: true, childList: true, attributeFilter: ["disabled"] });
}
