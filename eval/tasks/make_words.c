/* Questions of words and lists: letters in a text, words backward, legs of animals, sorting. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/tasks/number.h"
#include "eval/tasks/procedural_internal.h"

/* The text that words are taken from. */
static const char STORY[] =
    "Before the harbour woke the old keeper climbed the spiral stairs of the lighthouse and counted "
    "every step aloud because numbers kept him company Ninety seven ninety eight ninety nine he said "
    "and opened the small iron door Wind from the northern islands carried salt and the thin cries of "
    "gulls He polished the great lens with a yellow cloth until it showed his own face upside down "
    "then he wrote the weather into a book with green covers Cloud from the west visibility nine "
    "miles sea moderate A fishing boat called Marigold passed the outer rocks towing an empty barge "
    "and somebody on deck lifted a lantern to greet him He lifted his own lamp in answer Years ago he "
    "had sailed with her captain through a storm that turned the compass in circles and taught them "
    "both to trust the stars Now the captain had grandchildren and the keeper had the light which "
    "needed oil patience and a steady hand When evening arrived he would draw the curtain start the "
    "clockwork and let the beam walk slowly over the water pointing at nothing pointing at everyone "
    "On quiet nights he imagined letters written by that beam across the waves long sentences about "
    "journeys weather bread and music which no one would ever finish reading Far beyond the reef a "
    "steamer answered with three short whistles and vanished behind its own smoke leaving only the "
    "regular breathing of the tide among the pillars of the wooden pier";

enum { MOST_WORDS = 320 };

/* Places of the words; their number. */
static int find_words(const char *words[MOST_WORDS], int lengths[MOST_WORDS], int shortest,
                      int longest)
{
    int count = 0;
    for (const char *p = STORY; *p && count < MOST_WORDS; p += strspn(p, " ")) {
        const int n = (int)strcspn(p, " ");
        if (n >= shortest && n <= longest) {
            words[count] = p;
            lengths[count++] = n;
        }
        p += n;
    }
    return count;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

enum status question_letters(struct question *q)
{
    const char *words[MOST_WORDS];
    int lengths[MOST_WORDS];
    int counts[26] = {0};
    char present[26];
    int kinds = 0;
    const int count = find_words(words, lengths, 1, 64);
    const int64_t want = question_range(q, "min_words", "max_words");
    const int span = want < count ? (int)want : count;
    const int first = (int)question_between(q, 0, count - span);
    json_t *list = json_array();
    TRY(question_note(q, "span", list)); /* the metadata owns it */
    char *text = NULL;
    enum status status = STATUS_OK;
    for (int i = first; i < first + span && status == STATUS_OK; i++) {
        for (int k = 0; k < lengths[i]; k++) {
            counts[lower(words[i][k]) - 'a']++;
        }
        (void)json_array_append_new(list, json_stringn(words[i], (size_t)lengths[i]));
        status = question_add(&text, "%s%.*s", text ? " " : "", lengths[i], words[i]);
    }
    for (int i = 0; i < 26; i++) {
        if (counts[i] > 0) {
            present[kinds++] = (char)('a' + i);
        }
    }
    const char letter[2] = {present[question_below(q, (uint64_t)kinds)], '\0'};
    if (status == STATUS_OK) {
        status = question_set(&q->text, "How many times does the letter \"%s\" appear in the text: "
                                        "\"%s\"?", letter, text);
    }
    free(text);
    TRY(status);
    TRY(question_set(&q->answer, "%d", counts[letter[0] - 'a']));
    TRY(question_note(q, "span_length", json_integer(span)));
    TRY(question_note(q, "target_letter", json_string(letter)));
    return question_difficulty(q, "words", "min_words", "max_words");
}

enum status question_backward(struct question *q)
{
    const char *words[MOST_WORDS];
    int lengths[MOST_WORDS];
    const int count = find_words(words, lengths, (int)question_value(q, "min_word_len"),
                                 (int)question_value(q, "max_word_len"));
    if (count == 0) {
        return FAIL(RECIPE, "procedural: spell_backward: no word of this length; use 3 to 12 letters");
    }
    const int i = (int)question_below(q, (uint64_t)count);
    char word[64];
    char backward[64];
    for (int k = 0; k < lengths[i]; k++) {
        word[k] = words[i][k];
        backward[k] = words[i][lengths[i] - 1 - k];
    }
    word[lengths[i]] = '\0';
    backward[lengths[i]] = '\0';
    TRY(question_set(&q->text, "Spell this word backward (example: sun -> nus): %s", word));
    TRY(question_set(&q->answer, "%s", backward));
    TRY(question_note(q, "word", json_string(word)));
    TRY(question_note(q, "word_len", json_integer(lengths[i])));
    return question_difficulty(q, "word_len", "min_word_len", "max_word_len");
}

/* ---- leg_counting ---- */

static const struct {
    const char *name;
    int legs;
} ANIMALS[] = {
    {"earthworm", 0}, {"eel", 0},        {"snail", 0},    {"slug", 0},     {"snake", 0},
    {"owl", 2},       {"goose", 2},      {"penguin", 2},  {"parrot", 2},   {"duck", 2},
    {"ostrich", 2},   {"horse", 4},      {"goat", 4},     {"otter", 4},    {"lizard", 4},
    {"frog", 4},      {"camel", 4},      {"rabbit", 4},   {"badger", 4},   {"zebra", 4},
    {"tortoise", 4},  {"hedgehog", 4},   {"dog", 4},      {"starfish", 5}, {"ant", 6},
    {"ladybird", 6},  {"moth", 6},       {"dragonfly", 6}, {"bumblebee", 6}, {"earwig", 6},
    {"termite", 6},   {"spider", 8},     {"scorpion", 8}, {"mite", 8},     {"crab", 10},
    {"lobster", 10},  {"woodlouse", 14},
};

enum { ANIMAL_COUNT = sizeof ANIMALS / sizeof ANIMALS[0] };

enum status question_legs(struct question *q)
{
    int order[ANIMAL_COUNT];
    const int64_t kinds = question_range(q, "min_animals", "max_animals");
    int64_t legs = 0;
    json_t *animals = json_object();
    TRY(question_note(q, "animals", animals)); /* the metadata owns it */
    TRY(question_set(&q->text,
                     "Your task is to count how many legs there are in total when given a "
                     "list of animals.\n\nNow, how many legs are there in total if you "
                     "have "));
    for (int i = 0; i < ANIMAL_COUNT; i++) {
        order[i] = i;
    }
    for (int64_t i = 0; i < kinds; i++) {
        const int64_t j = question_between(q, i, ANIMAL_COUNT - 1);
        const int chosen = order[j];
        const int64_t count = question_range(q, "min_instances", "max_instances");
        order[j] = order[i];
        legs += count * ANIMALS[chosen].legs;
        (void)json_object_set_new(animals, ANIMALS[chosen].name, json_integer(count));
        TRY(question_add(&q->text, "%s%" PRId64 " %s%s", i ? ", " : "", count, ANIMALS[chosen].name,
                         count > 1 ? "s" : ""));
    }
    TRY(question_add(&q->text, "?\n"));
    TRY(question_set(&q->answer, "%" PRId64, legs));
    TRY(question_note(q, "num_animals", json_integer(kinds)));
    TRY(question_note(q, "total_legs", json_integer(legs)));
    TRY(question_difficulty(q, "num_animals", "min_animals", "max_animals"));
    return question_difficulty(q, "num_instances", "min_instances", "max_instances");
}

/* ---- number_sorting ---- */

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The list as text, "1.0, 2.5" or "['1.0', '2.5']", and its texts as metadata. */
static enum status put_list(struct question *q, const double *x, int64_t count, bool python,
                            const char *key, char **out)
{
    json_t *list = json_array();
    TRY(question_note(q, key, list)); /* the metadata owns it */
    TRY(question_add(out, "%s", python ? "[" : ""));
    for (int64_t i = 0; i < count; i++) {
        char digits[32];
        number_repr(x[i], digits);
        (void)json_array_append_new(list, json_string(digits));
        TRY(question_add(out, python ? "%s'%s'" : "%s%s", i ? ", " : "", digits));
    }
    return question_add(out, "%s", python ? "]" : "");
}

static void draw_list(struct question *q, double *x, int64_t count)
{
    const double low = question_value(q, "min_value");
    const double high = question_value(q, "max_value");
    for (int64_t i = 0; i < count; i++) {
        const double unit = pow(10.0, (double)question_range(q, "min_decimals", "max_decimals"));
        const int64_t first = (int64_t)ceil(low * unit);
        const int64_t last = (int64_t)floor(high * unit); /* none with so few decimals: the first */
        x[i] = (double)question_between(q, first, last > first ? last : first) / unit;
    }
}

enum status question_sorting(struct question *q)
{
    static const char RULES[] =
        "\nPlease follow the instruction below:\n"
        "## 1. Let all your answers be a list of numbers. Instead of reporting your answer as -69, "
        "-13, 1, 7, 11, 43, 59, 61, use ['-69', '-13', '1', '7', '11', '43', '59', '61'] instead\n"
        "## 2. Convert all numbers in the square brackets as strings. For example, ['-69', '-13', "
        "'1', '7', '11', '43', '59', '61']\n";
    const int64_t count = question_range(q, "min_numbers", "max_numbers");
    double *x = malloc((size_t)count * sizeof *x);
    if (!x) {
        return FAIL(MEMORY, "procedural: no memory for %" PRId64 " numbers", count);
    }
    draw_list(q, x, count);
    const bool ascending = question_flip(q);
    const char *direction = ascending ? "ascending" : "descending";
    enum status status = question_set(&q->text, "Sort these numbers in %s order: ", direction);
    if (status == STATUS_OK) {
        status = put_list(q, x, count, false, "original_numbers", &q->text);
    }
    qsort(x, (size_t)count, sizeof *x, compare);
    for (int64_t i = 0; i < count / 2 && !ascending; i++) {
        const double t = x[i];
        x[i] = x[count - 1 - i];
        x[count - 1 - i] = t;
    }
    if (status == STATUS_OK) {
        status = put_list(q, x, count, true, "sorted_numbers", &q->answer);
    }
    free(x);
    TRY(status);
    TRY(question_add(&q->text, "%s", RULES));
    TRY(question_note(q, "direction", json_string(direction)));
    TRY(question_note(q, "numbers", json_integer(count)));
    TRY(question_difficulty(q, "numbers", "min_numbers", "max_numbers"));
    TRY(question_difficulty(q, "decimals", "min_decimals", "max_decimals"));
    return question_difficulty(q, "value", "min_value", "max_value");
}
