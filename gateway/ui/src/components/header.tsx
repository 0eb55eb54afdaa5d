import { useEffect, useRef, useState } from "preact/hooks";
import type { View } from "../state";
import { useUi, useSelect } from "./context";
import { Icon, Mark, Wordmark } from "./icons";

function openPicker(): void {
    document.getElementById("file-input")?.click();
}

/** Whether the upload strip is scrolled out of sight: then the header offers the button. */
function useDropzoneAway(view: View): boolean {
    const [away, setAway] = useState(false);
    useEffect(() => {
        const strip = document.getElementById("drop");
        setAway(false);
        if (!strip || typeof IntersectionObserver === "undefined") return;
        const watch = new IntersectionObserver((seen) => setAway(!seen.at(-1)!.isIntersecting), { rootMargin: "-60px 0px 0px" });
        watch.observe(strip);
        return () => watch.disconnect();
    }, [view]);
    return away;
}

export function Header() {
    const { app, lang, theme, setLang, setTheme } = useUi();
    const { t } = app;
    const view = useSelect((s) => s.view);
    const away = useDropzoneAway(view);
    return (
        <header class="top">
            <a class="brand" href="#/" aria-label={t("app.home")}>
                <Mark />
                <Wordmark />
            </a>
            <nav class="views" aria-label={t("nav.label")}>
                <a href="#/" data-testid="nav-library" aria-current={view === "library" ? "page" : undefined}>
                    {t("lib.title")}
                </a>
                <a href="#/queues" data-testid="nav-queues" aria-current={view === "queues" ? "page" : undefined}>
                    {t("q.title")}
                </a>
            </nav>
            {view === "library" ? <Search /> : <span class="search" />}
            <div class="top-tools">
                <Connection />
                <button type="button" class="btn btn-quiet lang" data-testid="lang-switch" data-lang={lang} aria-label={`TR EN: ${t("lang.switch")}`} lang={lang === "tr" ? "en" : "tr"} onClick={() => setLang(lang === "tr" ? "en" : "tr")}>
                    <span class={lang === "tr" ? "on" : ""}>TR</span>{" "}
                    <span class={lang === "en" ? "on" : ""}>EN</span>
                </button>
                <button
                    type="button"
                    class="btn btn-quiet btn-icon"
                    data-testid="theme-switch"
                    data-theme={theme}
                    aria-label={t(theme === "dark" ? "theme.light" : "theme.dark")}
                    title={t(theme === "dark" ? "theme.light" : "theme.dark")}
                    onClick={() => setTheme(theme === "dark" ? "light" : "dark")}
                >
                    <Icon name={theme === "dark" ? "sun" : "moon"} />
                </button>
                {away && (
                    <button type="button" class="btn btn-primary top-pick" aria-label={t("drop.pick")} onClick={openPicker}>
                        <Icon name="upload" />
                        <span>{t("drop.pick")}</span>
                    </button>
                )}
            </div>
        </header>
    );
}

function Connection() {
    const { app } = useUi();
    const live = useSelect((s) => s.live);
    const online = useSelect((s) => s.online);
    const state = online ? live : "offline";
    const word = app.t(`conn.${state}`);
    return (
        <span class="connection" role="status" data-testid="connection" data-state={state} title={app.t("conn.label", { state: word })}>
            <i aria-hidden="true" />
            <span>{word}</span>
        </span>
    );
}

function Search() {
    const { app } = useUi();
    const search = useSelect((s) => s.filter.search);
    const input = useRef<HTMLInputElement>(null);
    const typing = useRef<ReturnType<typeof setTimeout> | null>(null);
    useEffect(() => {
        if (input.current!.value.trim() !== search) input.current!.value = search; // changed elsewhere
    }, [search]);
    const onInput = (e: Event) => {
        const value = (e.currentTarget as HTMLInputElement).value.trim();
        clearTimeout(typing.current ?? undefined);
        typing.current = setTimeout(() => value !== app.store.get().filter.search && app.filter({ search: value }), 250);
    };
    return (
        <label class="search">
            <Icon name="search" />
            <input ref={input} type="search" data-testid="filter-search" autocomplete="off" spellcheck={false} placeholder={app.t("filter.search")} aria-label={app.t("filter.search")} onInput={onInput} />
        </label>
    );
}
