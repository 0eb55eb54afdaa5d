// The page begins here: choices kept in the browser, the store, the first render.
import { render } from "preact";
import { createApp } from "./app";
import type { Theme } from "./components/context";
import { Root } from "./components/root";
import { guardFocus } from "./focus";
import { pickLang, type Lang } from "./i18n";
import { readPref, savePref } from "./prefs";
import { createStore } from "./state";

let lang: Lang = pickLang(readPref("lang"), navigator.language);
const stored = readPref("theme");
const chosen: Theme | null = stored === "light" || stored === "dark" ? stored : null;
const system: Theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
if (chosen) document.documentElement.dataset["theme"] = chosen;

const app = createApp(createStore(), () => lang);
const prefs = {
    lang,
    theme: chosen ?? system,
    saveLang(next: Lang) {
        lang = next;
        savePref("lang", next);
    },
    saveTheme(next: Theme) {
        document.documentElement.dataset["theme"] = next;
        savePref("theme", next);
    },
};
const root = document.getElementById("app")!;
render(<Root app={app} prefs={prefs} />, root);
guardFocus(root);
app.start();
