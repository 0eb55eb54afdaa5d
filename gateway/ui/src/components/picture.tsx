import { useEffect, useState } from "preact/hooks";
import { extension, kindOf, originalShows, sourcesFor, type Media } from "../model";
import { thumbUrl } from "../thumbhash";
import { useSelect } from "./context";
import { FileGlyph } from "./icons";

interface Props {
    media: Media;
    /** The slot in CSS terms, for `sizes`. */
    sizes: string;
    /** Its largest width in device pixels. */
    need: number;
    eager?: boolean;
}

/** The picture of a file: AVIF or WebP by size, else the original; a placeholder until it is there; a glyph where there is none. */
export function Picture({ media, sizes, need, eager }: Props) {
    const [loaded, setLoaded] = useState(false);
    const [broken, setBroken] = useState(false);
    const sources = sourcesFor(media.variants, need);
    const shows = kindOf(media.mime) === "image" && (sources.length > 0 || originalShows(media.mime));
    const source = `${media.url} ${sources.length}`;
    const live = useSelect((s) => s.live);
    useEffect(() => setBroken(false), [source, live]); // variants may show what the original did not; the server may have been away
    if (!shows || broken) return <FileGlyph kind={kindOf(media.mime)} ext={extension(media.filename)} />;
    const placeholder = media.thumbhash ? thumbUrl(media.thumbhash) : null;
    const box =
        media.width && media.height
            ? {
                  aspectRatio: `${media.width} / ${media.height}`,
                  "--w": media.width,
                  "--ratio": media.width / media.height,
                  backgroundImage: placeholder && !loaded ? `url("${placeholder}")` : "",
              }
            : {};
    return (
        <>
            {placeholder && <span class="ambient" style={{ backgroundImage: `url("${placeholder}")` }} />}
            <picture>
                {sources.map((s) => (
                    <source key={s.type} type={s.type} srcset={s.srcset} sizes={sizes} />
                ))}
                <img
                    class={loaded ? "loaded" : ""}
                    src={media.url}
                    alt=""
                    width={media.width ?? undefined}
                    height={media.height ?? undefined}
                    style={box}
                    loading={eager ? "eager" : "lazy"}
                    decoding="async"
                    draggable={false}
                    onLoad={() => setLoaded(true)}
                    onError={() => setBroken(true)}
                />
            </picture>
        </>
    );
}

/** Whether a picture may fill a 4:3 frame: yes while at most a third of it is cut off. */
export function fills(media: Media): boolean {
    if (!media.width || !media.height) return false;
    const ratio = media.width / media.height / (4 / 3);
    return Math.min(ratio, 1 / ratio) > 0.66;
}
