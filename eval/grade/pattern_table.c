/*
 * The patterns, in the reference's meaning (spec/open-r1.md 3.1 and 3.2). Which unit words are
 * dropped does not depend on their order: the pattern is tied to the end of the text and backtracks
 * over all of them.
 */
#include "eval/grade/pattern.h"

/* LaTeX between delimiters; each alternative puts its content into the same group. */
#define PERCENT "(\\\\?%|[Pp]ercent|[Pp]ercentage|[Pp]ct)?"
#define DOLLARS "(?:[^$]|\\$(?!\\$))"
#define SQUARE "(?:[^\\\\]|\\\\(?!\\]))"
#define DOLLAR "(?:\\\\[$]|[^\\n$])"
#define ROUND "(?:[^\\\\\\n]|\\\\(?!\\)))"
#define PLAIN_BRACKET "[^\\n\\]\\[]"
#define SHORT_NUMBER "-?\\d+(?:[.,]\\d+)?"
#define ENVIRONMENTS(dollars, square, dollar, round, bracket)                                      \
    "(?<!\\\\)\\$\\$(" dollars ")(?<!\\\\)\\$\\$"                                                  \
    "|(?<!\\\\)\\\\\\[(" square ")(?<!\\\\)\\\\\\]"                                                \
    "|(?<!\\\\|\\d)\\$(" dollar ")(?<!\\\\)\\$"                                                    \
    "|(?<!\\\\)\\\\\\((" round ")(?<!\\\\)\\\\\\)"                                                 \
    "|\\s\\[(" bracket ")\\]\\s"
#define PLAIN_PART                                                                                 \
    "(?:(?|" ENVIRONMENTS(DOLLARS "+?", SQUARE "+?", DOLLAR "+?", ROUND "+?", PLAIN_BRACKET "+?")  \
    "|(-?\\\\frac\\{" SHORT_NUMBER "\\}\\{" SHORT_NUMBER "\\}))\\s*" PERCENT ")"
#define BOX(part) part "*?\\\\boxed\\{" part "+?\\}" part "*?"
#define BOXED_PART                                                                                 \
    "(?:(?|" ENVIRONMENTS(BOX(DOLLARS), BOX(SQUARE), BOX(DOLLAR), BOX(ROUND), BOX(PLAIN_BRACKET))  \
    ")\\s*" PERCENT ")"
#define AND "\\s*(?:,?and|,?or|,)\\s*"
#define MORE_PLAIN "(?:" AND PLAIN_PART ")?"
#define MORE_BOXED "\\s*(?:" AND BOXED_PART ")?"
#define LATEX                                                                                      \
    "(?:" PLAIN_PART MORE_PLAIN MORE_PLAIN MORE_PLAIN MORE_PLAIN MORE_PLAIN ")"

/* Plain numbers and expressions. */
#define OPERATORS "+\\-*×/^()÷"
#define EXPR_SIGNS "[\\d.\\s" OPERATORS "]"
/* The lengths are bounds on the work: each digit of a text may begin an expression. */
#define EXPR "(-?\\(?-?\\d" EXPR_SIGNS "{0,400}[" OPERATORS "]" EXPR_SIGNS "{1,400}\\)?)"
#define NUMBER                                                                                     \
    "(?<!\\d)(?:(-?[1-9]\\d{0,2}(?:[ ,]\\d{3})+)(\\.\\d+)?|(-?\\d+)([.,]\\d+)|(\\.\\d+)|(-?\\d+))" \
    "(\\s*+(?:%|[Pp]ercent|[Pp]ercentage|[Pp]ct))?"
#define CURRENCIES "$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₭₮₯₰₱₲₳₴₵₶₷₸₺₻₼₾₿"
#define BEFORE "(?:^|\\s|=)(?:\\*\\*)?"
#define AFTER "(?:\\*\\*)?(?:\\.|,|:|\\s|\\)|\\$|$)"
#define ANCHORED_EXPR "(?:" BEFORE EXPR AFTER ")"
#define ANCHORED_NUMBER "(?:" BEFORE "[" CURRENCIES "]?" NUMBER ")"
#define EXPR_OR_NUMBER "(?:" ANCHORED_EXPR "|" ANCHORED_NUMBER ")"
#define EQUALS_OR_NEAR "(?:.{0,100}=\\s*|.{0,50}?)"

#define CHOICE "(A|B|C|D)"
#define CHOICE_AFTER "(?:\\*\\*)?(?:\\.|,|:|\\s|$)"
#define CHOICE_AROUND "(?:^|\\s)(?:\\*\\*)?" CHOICE CHOICE_AFTER

#define HOPE "(?i:final answer is):?\\s*"
#define IS "(?i:final answer.{0,100}?)\\s+is:?"
#define ANSWER "(?i:answer)"

#define UNITS                                                                                      \
    "c|d|g|h|l|m|o|s|t|ab|am|bc|by|cc|cm|dm|ft|gm|hr|kg|km|lb|lt|mm|mp|mt|pm|rd|rs|sq|st|th|yr|"   \
    "a .|are|b .|c .|d .|day|deg|e .|f .|g .|gal|h .|kmh|man|men|min|mph|mtr|ohm|per|pie|q .|s .|" \
    "sec|sue|toy|way|° f|acre|cent|cm 2|coin|cube|east|edge|feet|gain|hour|inch|kmph|less|loss|"   \
    "mark|meal|mile|minw|more|noon|pure|rise|rs .|sq m|tile|unit|west|yard|year|a . m|apple|"      \
    "cu cm|cubic|digit|liter|litre|meter|metre|month|p . m|pound|prime|ratio|rupee|woman|women|"   \
    "π r 2|cu . m|degree|excess|gallon|inches|minute|monkey|number|profit|rounds|second|sq . m|"   \
    "square|∏ cm ³| m east|Surface|hectare|pi sq m|soldier|sq inch|student|v â € ™|decrease|"      \
    "increase|m square|multiple|no change|integerpoint|profit of rs|children ticket"

#define LEFT_SIGNS                                                                                 \
    "(\\\\\\{|\\{|\\\\\\||\\||\\[|\\(|\\\\rbracl|\\\\lgroup|\\\\lbrace|\\\\lbrack|\\\\vert|"       \
    "\\\\lvert|\\\\lceil|\\\\lfloor|\\\\langle|\\\\llcorner|\\\\ulcorner)"
#define RIGHT_SIGNS                                                                                \
    "(\\\\\\}|\\}|\\\\\\||\\||\\]|\\)|\\\\rbrack|\\\\rgroup|\\\\rbrace|\\\\vert|\\\\rvert|"        \
    "\\\\rceil|\\\\rfloor|\\\\rangle|\\\\lrcorner|\\\\urcorner)"
#define TERM "([a-zA-Z0-9+\\-*/\\\\ ]+?)"

/* Words to replace: group k of the pattern and what stands for it. */
static const struct {
    const char *pattern, *with;
} WORDS[] = {
    {"\\\\math(?:rm|it|bf)", "\\text"},
    {"\\\\text(?:normal|bf|it|rm)", "\\text"},
    {"\\\\(?:d|t|c)frac", "\\frac"},
    {"\\s\\.", " 0."},
    {"\\{\\.", "{0."},
    {"~=", "\\approx"},
    {"\\s*+\\{\\s*+,\\s*+\\}", ","},
    {"(?<![a-zA-Z])(?:,?\\s*+(?:and|or))(?![a-zA-Z])", ","},
    {",?\\s*+\\\\text\\{\\s*+(?:and|or)\\s*+\\}", ","},
    {"(?<!\\\\)\\\\\\s", " "},
    {"infinity", "\\infty"},
    {",?\\\\ldots", " "},
    {"\\s*+\\bpercentage\\b", "\\%"},
    {"\\\\text\\{percentage\\}", "%"},
    {"\\s*+\\bpercent\\b", "\\%"},
    {"\\\\text\\{percent\\}", "%"},
    {"\\s*+\\bpct\\b", "\\%"},
    {"\\\\text\\{pct\\}", "%"},
    {"(?<!\\\\)inf(?!inity)", "\\infty"},
    {" sqrt", "\\sqrt"},
};

static const struct pattern_source SOURCES[PATTERN_COUNT] = {
    [PATTERN_LATEX_HOPE] = {HOPE LATEX "\\.?\\s?I hope", true},
    [PATTERN_LATEX_IS] = {IS "\\s*" LATEX, true},
    [PATTERN_LATEX_COLON] = {ANSWER ":.{0,50}?" LATEX, true},
    [PATTERN_LATEX_ANSWER] = {ANSWER ".{0,50}?" LATEX, true},
    [PATTERN_LATEX_PLAIN] = {LATEX, true},
    [PATTERN_BOXED_LATEX] = {BOXED_PART MORE_BOXED MORE_BOXED MORE_BOXED MORE_BOXED MORE_BOXED,
                             true},
    [PATTERN_BOXED_RAW] = {"(\\\\boxed\\{.+\\})", true},
    [PATTERN_EXPR_HOPE] = {HOPE EXPR_OR_NUMBER "\\.?\\s?I hope", false},
    [PATTERN_EXPR_IS] = {IS EXPR_OR_NUMBER, false},
    [PATTERN_EXPR_COLON] = {ANSWER ":" EQUALS_OR_NEAR EXPR_OR_NUMBER "(?!\\s*=)", false},
    [PATTERN_EXPR_ANSWER] = {ANSWER EQUALS_OR_NEAR EXPR_OR_NUMBER "(?!\\s*=)", false},
    [PATTERN_EXPR_PLAIN] = {ANCHORED_EXPR, false},
    [PATTERN_NUMBER_PLAIN] = {ANCHORED_NUMBER, false},
    [PATTERN_CHOICE_HOPE] = {HOPE CHOICE "\\.?\\s?I hope", false},
    [PATTERN_CHOICE_IS] = {IS "\\s*" CHOICE, false},
    [PATTERN_CHOICE_COLON] = {ANSWER ":.{0,50}?" CHOICE_AROUND, false},
    [PATTERN_CHOICE_ANSWER] = {ANSWER ".{0,50}?" CHOICE_AROUND, false},
    [PATTERN_CHOICE_START] = {"^(?:\\*\\*)?" CHOICE CHOICE_AFTER, false},
    [PATTERN_CHOICE_PLAIN] = {CHOICE_AROUND, false},
    [PATTERN_SEPARATOR] = {"\\b(and|or)\\b|,|;", false},
    [PATTERN_LEFT] = {"\\\\m?left" LEFT_SIGNS, false},
    [PATTERN_RIGHT] = {"\\\\m?right" RIGHT_SIGNS, false},
    [PATTERN_PERMUTATION] = {"\\(" TERM "\\)_\\{" TERM "\\}", false},
    [PATTERN_REMOVE] = {"\\\\mathrm\\{th\\}|\\\\!\\s*|\\\\text\\s*+\\{\\s*+\\}|\\\\\\$|\\$|"
                        "(?<!\\\\)[\"']|\\\\displaystyle",
                        false},
    [PATTERN_DOUBLE_SLASH] = {"\\\\\\\\(?=[a-zA-Z])", false},
    [PATTERN_UNIT_TEXT] = {"(\\\\(?:text|mbox)\\{.*?\\})(\\^\\d|\\{\\^\\d\\})?$", false},
    [PATTERN_UNIT_WORD] = {"(\\d|\\}|\\s)(?:\\s*+(?:" UNITS ")|\\s* m east)(?:s|es)?\\s*$", false},
    [PATTERN_CARET_PAREN] = {"\\^\\s?\\((.*?)\\)", false},
    [PATTERN_SQRT_PAREN] = {"sqrt\\s?\\((.*?)\\)", false},
    [PATTERN_FRAC_DIGITS] = {"\\\\frac\\s?(\\d)\\s?(\\d+)", false},
    [PATTERN_LOG_DIGITS] = {"\\\\log_\\s?(\\d)\\s?(\\d+)", false},
    [PATTERN_FRAC_BRACE_DIGIT] = {"\\\\frac\\s?\\{(.*?)\\}\\s?(\\d)", false},
    [PATTERN_FRAC_DIGIT_BRACE] = {"\\\\frac\\s?(\\d)\\s?\\{(.*?)\\}", false},
    [PATTERN_SQRT_DIGIT] = {"\\\\sqrt\\s?(\\d)", false},
    [PATTERN_EQUALS] = {"(?<!\\\\|<|!|>)=", false},
    [PATTERN_COMPLEX] = {"\\\\mathbb\\{C\\}|\\\\i\\b|\\bi\\b|\\\\text\\{i\\}|\\\\mathrm\\{i\\}|"
                         "\\\\imath\\b|\\\\det|\\\\operatorname\\{tr\\}|\\\\operatorname\\{rank\\}|"
                         "\\\\text\\{rank\\}|\\\\arg\\{|\\\\Re\\{|\\\\Im\\{|"
                         "\\\\operatorname\\{Re\\}|\\\\operatorname\\{Im\\}|\\\\text\\{Re\\}|"
                         "\\\\text\\{Im\\}",
                         false},
    [PATTERN_COMMA_NUMBER] = {"^\\s*-?\\d{1,3}(,\\d{3})+(\\.\\d+)?\\s*$", false},
};

const struct pattern_source *pattern_source(enum pattern_id id)
{
    return &SOURCES[id];
}

const char *pattern_word(int k)
{
    return k < (int)(sizeof WORDS / sizeof *WORDS) ? WORDS[k].pattern : NULL;
}

const char *pattern_replacement(int k)
{
    return WORDS[k].with;
}
