import { useEffect, useLayoutEffect, useMemo, useState } from "preact/hooks";
import type { App } from "../app";
import type { Lang } from "../i18n";
import type { View } from "../state";
import { Announcer } from "./announcer";
import { ConfirmDelete } from "./confirm";
import { UiContext, useSelect, useUi, type Theme } from "./context";
import { Detail } from "./detail";
import { Dropzone } from "./drop";
import { Gallery } from "./gallery";
import { Header } from "./header";
import { Icon } from "./icons";
import { ConfirmQueue } from "./confirm-queue";
import { JobDetail } from "./job";
import { Queues } from "./queues";
import { Toolbar } from "./toolbar";
import { UploadPanel } from "./uploads";

interface Props {
    app: App;
    prefs: { lang: Lang; theme: Theme; saveLang(lang: Lang): void; saveTheme(theme: Theme): void };
}

export function Root({ app, prefs }: Props) {
    const [lang, setLang] = useState(prefs.lang);
    const [theme, setTheme] = useState(prefs.theme);
    const ui = useMemo(
        () => ({
            app,
            lang,
            theme,
            setLang(next: Lang) {
                prefs.saveLang(next);
                setLang(next);
            },
            setTheme(next: Theme) {
                prefs.saveTheme(next);
                setTheme(next);
            },
        }),
        [app, lang, theme],
    );
    useEffect(() => {
        const dark = matchMedia("(prefers-color-scheme: dark)");
        dark.onchange = () => document.documentElement.dataset["theme"] ?? setTheme(dark.matches ? "dark" : "light"); // until one is chosen
    }, []);
    const view = useView(app);
    useEffect(() => {
        document.documentElement.lang = lang;
        document.title = app.t(view === "queues" ? "q.pageTitle" : "app.title");
    }, [lang, view]);
    return (
        <UiContext.Provider value={ui}>
            <a class="skip" href="#library" onClick={skip}>
                {app.t("app.skip")}
            </a>
            <Header />
            <Offline />
            <main>
                {view === "queues" ? (
                    <Queues />
                ) : (
                    <>
                        <Dropzone />
                        <Toolbar />
                        <Gallery />
                    </>
                )}
            </main>
            <Footer />
            <UploadPanel />
            <Detail />
            <ConfirmDelete />
            <JobDetail />
            <ConfirmQueue />
            <Announcer />
        </UiContext.Provider>
    );
}

/** As useSelect, which needs the context this component makes. */
function useView(app: App): View {
    const [view, setView] = useState(app.store.get().view);
    useLayoutEffect(() => app.store.subscribe(() => setView(app.store.get().view)), [app]);
    return view;
}

// The hash belongs to the detail view, so the link only moves the focus.
function skip(e: Event): void {
    e.preventDefault();
    document.getElementById("library")?.focus();
}

function Offline() {
    const { app } = useUi();
    const online = useSelect((s) => s.online);
    return online ? null : (
        <p class="offline" role="alert" data-testid="offline">
            <Icon name="cloudOff" />
            {app.t("offline.text")}
        </p>
    );
}

function Footer() {
    const { app } = useUi();
    const version = useSelect((s) => s.config?.version);
    return (
        <footer class="foot">
            <span>kervan {version}</span>
            <a href="/api/openapi.json">{app.t("foot.api")}</a>
        </footer>
    );
}
