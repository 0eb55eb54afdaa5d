import { Component, createContext, type VNode } from "preact";
import { useContext, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { App } from "../app";
import type { Lang } from "../i18n";
import type { State } from "../state";

export type Theme = "light" | "dark";

export interface Ui {
    app: App;
    lang: Lang;
    theme: Theme;
    setLang(lang: Lang): void;
    setTheme(theme: Theme): void;
}

export const UiContext = createContext<Ui>(null as unknown as Ui);

export function useUi(): Ui {
    return useContext(UiContext);
}

/** A part of the state; the component renders again only when that part changes. */
export function useSelect<T>(select: (state: State) => T): T {
    const { store } = useUi().app;
    const [, again] = useState(0);
    const value = select(store.get());
    const latest = useRef({ select, value });
    latest.current = { select, value };
    useLayoutEffect(() => {
        const check = () => {
            if (latest.current.select(store.get()) !== latest.current.value) again((n) => n + 1);
        };
        check();
        return store.subscribe(check);
    }, [store]);
    return value;
}

interface KeptProps<T> {
    of: T;
    make: (of: T) => VNode;
}

/** One of a list: rendered again only when it is another. The element itself is not kept, it would keep the whole list of its time. */
export class Kept<T> extends Component<KeptProps<T>> {
    override shouldComponentUpdate({ of }: KeptProps<T>): boolean {
        return of !== this.props.of;
    }

    render(): VNode {
        return this.props.make(this.props.of);
    }
}
