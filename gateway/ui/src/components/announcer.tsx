import { useState } from "preact/hooks";
import { useSelect } from "./context";

/** What happens without the user looking there, for screen readers. Behind a modal dialog all is inert, so each has its own. */
export function Announcer() {
    const said = useSelect((s) => s.said);
    const [before] = useState(said); // is no news to one that came later
    return (
        <div class="offscreen" role="status" data-testid="announcer">
            {said === before ? "" : said}
        </div>
    );
}
