"""Viewer: one page on this machine that shows a store's recordings and what a model makes of them.

`shelf` is what can be shown, `library` finds it in a store, `dropped` takes files from the page;
`atlas` embeds and maps in the background, `asking` answers about one recording; `guard` keeps
strangers out, `server` ties them together. The page itself lies in `page/`.
"""
