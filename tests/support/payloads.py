"""Texts that are something else than they look: markup, formulas, control sequences, ways out of a folder."""

from __future__ import annotations

MARK = "zq9mark"
"""Every payload holds it: what a page makes of one can be found."""

MARKUP = tuple(
    form.replace("@", MARK)
    for form in (
        "<script>@</script>",
        "<SCRIPT SRC=//@></SCRIPT>",
        "</script><script>@</script>",
        "<img src=x onerror=@>",
        "<img src='//@'>",
        "<svg onload=@>",
        "<svg><script>@</script></svg>",
        "<iframe src=javascript:@>",
        "<b id=@>x</b>",
        "<body onload=@>",
        "<style>@{}</style>",
        "</style><b>@</b>",
        "<link rel=stylesheet href=//@>",
        "<base href=//@>",
        "<meta http-equiv=refresh content='0;url=//@'>",
        "<form action=//@>",
        "<input autofocus onfocus=@>",
        "<a href=javascript:@>x</a>",
        "<math><mtext><@>",
        "<details open ontoggle=@>",
        "<object data=//@>",
        "<embed src=//@>",
        "<template><@>",
        "<noscript><p title='</noscript><@>'>",
        "--><@><!--",
        "<!--@",
        "]]><@>",
        "<![CDATA[<@>]]>",
        "' onmouseover='@",
        '" onmouseover="@',
        '"><@>',
        "'><@>",
        "`><@>",
        "x onclick=@",
        "&lt;@&gt;",
        "&#60;@&#62;",
        "<@",
        "@>",
        "<\x00script>@",
        "<scr\x00ipt>@",
        "\ufeff<@>",
        "<\u202e@>",
        "%3C@%3E",
        "\\x3c@\\x3e",
        "\\u003c@\\u003e",
        "{{ '@' }}",
        "{% raw %}@",
        "${@}",
        "#{@}",
        "<%= '@' %>",
        "{# @",
        "{{7*7}}@",
        "{{ self.__init__.__globals__ }}@",
        "[@](javascript:@)",
        "![@](//@)",
        "<https://@>",
        "**@**",
        "# @",
        "| @ | x |",
        "$\\href{//@}{x}$",
        ":red[@]",
        "```\n@",
        "url(//@)",
        "expression(@)",
        "};@{",
        "/*@*/",
        "//@",
        "data:text/html,@",
        "javascript:@",
        "vbscript:@",
    )
)
FORMULAS = tuple(
    form.replace("@", MARK)
    for form in (
        "=@()",
        '=HYPERLINK("//@")',
        "+@()",
        "-@()",
        "@@()",
        "=cmd|' /C @'!A0",
        "\t=@()",
        "\r=@()",
        " =@()",
        "\n=@()",
        "'=@()",
        "=1+1;@",
        '=IMPORTXML(CONCAT("//@"),1)',
        "@SUM(@)",
        "＝@()",
    )
)
CONTROLS = tuple(
    form.replace("@", MARK)
    for form in (
        "\x1b[31m@",
        "\x1b]0;@\x07",
        "\x1b]8;;//@\x1b\\x",
        "\x9b2J@",
        "@\x08\x08\x08",
        "@\r\nmedres: done",
        "@\x00",
        "\x07@",
        "@\u202etxt.exe",
        "\u2066@\u2069",
        "@\u200b",
        "\ufeff@",
        "@\u2028x",
        "\x1bP@\x1b\\",
        "\x1b[?1049h@",
    )
)
PATHS = tuple(
    form.replace("@", MARK)
    for form in (
        "../@",
        "../../../@",
        "/@",
        "\\\\@\\share",
        "C:\\@",
        "~/@",
        "$HOME/@",
        "@/../../x",
        ".",
        "..",
        "a/@",
        "CON",
    )
)
LONG = (MARK + "x" * 248, MARK + "ж" * 120, MARK + "é" * 5000)

PAYLOADS = (*MARKUP, *FORMULAS, *CONTROLS, *PATHS, *LONG)
