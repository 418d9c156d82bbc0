/* Questions of dates in one year: weekdays, counts of days, leap years. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "eval/tasks/procedural_internal.h"

static const char *const MONTHS[] = {"January",   "February", "March",    "April",
                                     "May",       "June",     "July",     "August",
                                     "September", "October",  "November", "December"};
static const char *const DAYS[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                   "Friday", "Saturday", "Sunday"};

struct date {
    int64_t number; /* days since 0001-01-01 */
    int64_t year;
    int month; /* 1..12 */
    int day;
};

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int month_days(int64_t year, int month)
{
    static const int LENGTHS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return LENGTHS[month - 1] + (month == 2 && is_leap(year));
}

/* Days before January 1 of the year. */
static int64_t year_start(int64_t year)
{
    const int64_t y = year - 1;
    return 365 * y + y / 4 - y / 100 + y / 400;
}

static struct date date_of(int64_t number)
{
    struct date d = {.number = number, .year = number / 366 + 1, .month = 1};
    while (year_start(d.year + 1) <= number) {
        d.year++;
    }
    int64_t rest = number - year_start(d.year);
    for (; rest >= month_days(d.year, d.month); d.month++) {
        rest -= month_days(d.year, d.month);
    }
    d.day = (int)rest + 1;
    return d;
}

static const char *weekday(int64_t number)
{
    return DAYS[number % 7]; /* 0001-01-01 was a Monday */
}

static struct date draw_date(struct question *q)
{
    const int64_t year = (int64_t)question_value(q, "year");
    const int month = (int)question_between(q, 1, 12);
    int64_t number = year_start(year);
    for (int m = 1; m < month; m++) {
        number += month_days(year, m);
    }
    return date_of(number + question_between(q, 0, month_days(year, month) - 1));
}

static enum status note_date(struct question *q, const char *key, const struct date *d)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%04" PRId64 "-%02d-%02d", d->year, d->month, d->day);
    return question_note(q, key, json_string(text));
}

static enum status ask_weekday(struct question *q)
{
    static const char *const FORMS[] = {
        "Answer with the weekday's name (e.g., Monday, Tuesday, etc.).",
        "Provide the full name of the weekday.",
        "State the weekday (Monday through Sunday).",
        "Give the weekday name in full.",
        "Reply with just the weekday name.",
        "Write out the full weekday name.",
        "Respond with the weekday (Monday-Sunday).",
        "Answer using the complete weekday name.",
        "Name the day of the week in full.",
    };
    return question_add(&q->text, " %s", FORMS[question_below(q, sizeof FORMS / sizeof FORMS[0])]);
}

static enum status ask_count(struct question *q)
{
    static const char *const FORMS[] = {
        "Answer with a number.",     "Provide the count as a number.",
        "Respond with just the number.", "Write the total number.",
        "Give the count numerically.", "State the amount as a number.",
        "Reply with the numerical value.", "Express your answer as a number.",
    };
    return question_add(&q->text, " %s", FORMS[question_below(q, sizeof FORMS / sizeof FORMS[0])]);
}

static enum status make_offset(struct question *q)
{
    const struct date start = draw_date(q);
    const int64_t days = question_between(q, 1, (int64_t)question_value(q, "offset_upper_bound"));
    const bool ahead = question_flip(q);
    const struct date target = date_of(start.number + (ahead ? days : -days));
    char from[64];
    (void)snprintf(from, sizeof from, "%s, %s %d, %" PRId64, weekday(start.number),
                   MONTHS[start.month - 1], start.day, start.year);
    switch (question_below(q, 3) + (ahead ? 0 : 3)) {
    case 0:
        TRY(question_set(&q->text, "If today is %s, what day of the week will it be in %" PRId64
                                   " days?", from, days));
        break;
    case 1:
        TRY(question_set(&q->text, "Starting from %s, which weekday falls after a %" PRId64
                                   "-day jump?", from, days));
        break;
    case 2:
        TRY(question_set(&q->text, "Count forward %" PRId64 " days from %s - what's the weekday?",
                         days, from));
        break;
    case 3:
        TRY(question_set(&q->text, "If today is %s, what day of the week was it %" PRId64
                                   " days ago?", from, days));
        break;
    case 4:
        TRY(question_set(&q->text, "Starting from %s, which weekday was it %" PRId64
                                   " days before?", from, days));
        break;
    default:
        TRY(question_set(&q->text, "Count backward %" PRId64 " days from %s - what's the weekday?",
                         days, from));
        break;
    }
    TRY(question_set(&q->answer, "%s", weekday(target.number)));
    TRY(note_date(q, "start_date", &start));
    TRY(note_date(q, "target_date", &target));
    TRY(question_note(q, "offset_days", json_integer(ahead ? days : -days)));
    return ask_weekday(q);
}

static enum status make_weekday(struct question *q)
{
    const struct date d = draw_date(q);
    const char *month = MONTHS[d.month - 1];
    switch (question_below(q, 3)) {
    case 0:
        TRY(question_set(&q->text, "What day of the week was %s %d, %" PRId64 "?", month, d.day,
                         d.year));
        break;
    case 1:
        TRY(question_set(&q->text, "On which weekday did %s %d, %" PRId64 " fall?", month, d.day,
                         d.year));
        break;
    default:
        TRY(question_set(&q->text, "Name the day of the week for %02d/%02d/%04" PRId64 ".", d.month,
                         d.day, d.year));
        break;
    }
    TRY(question_set(&q->answer, "%s", weekday(d.number)));
    TRY(note_date(q, "target_date", &d));
    return ask_weekday(q);
}

static enum status make_from_first(struct question *q)
{
    const int64_t year = (int64_t)question_value(q, "year");
    const int64_t start = year_start(year);
    const int64_t last = year_start(year + 1) - start - 1;
    const int64_t most = (int64_t)question_value(q, "offset_upper_bound");
    const int64_t delta = question_between(q, 1, most < last ? most : last);
    const int64_t first = question_between(q, 0, 6);
    const struct date d = date_of(start + delta);
    const char *month = MONTHS[d.month - 1];
    switch (question_below(q, 3)) {
    case 0:
        TRY(question_set(&q->text,
                         "If the first day of the year was a %s, what day of the week will "
                         "%s %d be?",
                         DAYS[first], month, d.day));
        break;
    case 1:
        TRY(question_set(&q->text, "Given that January 1 fell on a %s, which weekday occurs on %s "
                                   "%d?", DAYS[first], month, d.day));
        break;
    default:
        TRY(question_set(&q->text, "In a year where %s is January 1st, name the weekday of %s %d.",
                         DAYS[first], month, d.day));
        break;
    }
    TRY(question_set(&q->answer, "%s", DAYS[(first + delta) % 7]));
    TRY(question_note(q, "year", json_integer(year)));
    TRY(question_note(q, "first_day", json_string(DAYS[first])));
    TRY(question_note(q, "delta_days", json_integer(delta)));
    TRY(note_date(q, "target_date", &d));
    return ask_weekday(q);
}

static enum status make_recurring(struct question *q)
{
    static const char *const ORDINALS[] = {"first", "second", "third", "fourth", "last"};
    const int64_t year = (int64_t)question_value(q, "year");
    const int month = (int)question_between(q, 1, 12);
    const int ordinal = (int)question_between(q, 0, 4);
    const int day = (int)question_between(q, 0, 6);
    int64_t start = year_start(year);
    for (int m = 1; m < month; m++) {
        start += month_days(year, m);
    }
    int64_t event = (day - start % 7 + 7) % 7 + 1; /* the first of the month */
    event += 7 * (ordinal < 4 ? ordinal : (month_days(year, month) - event) / 7);
    const char *name = MONTHS[month - 1];
    const char *which = ORDINALS[ordinal];
    switch (question_below(q, 3)) {
    case 0:
        TRY(question_set(&q->text, "If a meeting is scheduled on the %s %s of %s %" PRId64 ", on "
                                   "which day of the month does it occur?", which, DAYS[day], name,
                         year));
        break;
    case 1:
        TRY(question_set(&q->text,
                         "In %s %" PRId64 ", if an event recurs on the %s %s, what is the "
                         "date (day of the month) of the event?",
                         name, year, which, DAYS[day]));
        break;
    default:
        TRY(question_set(&q->text,
                         "Determine the day of the month for the %s %s in %s %" PRId64 ".", which,
                         DAYS[day], name, year));
        break;
    }
    TRY(ask_count(q));
    TRY(question_add(&q->text, " Answer with -1 if the ordinal does not exist in the month."));
    TRY(question_set(&q->answer, "%" PRId64, event));
    TRY(question_note(q, "year", json_integer(year)));
    TRY(question_note(q, "month", json_integer(month)));
    TRY(question_note(q, "ordinal", json_string(which)));
    return question_note(q, "weekday", json_string(DAYS[day]));
}

/* Two dates of the year, the second not before the first. */
static void draw_span(struct question *q, struct date *from, struct date *to)
{
    const int64_t year = (int64_t)question_value(q, "year");
    const int64_t start = year_start(year);
    const int64_t end = year_start(year + 1) - 1;
    const int64_t most = (int64_t)question_value(q, "offset_upper_bound");
    *from = date_of(question_between(q, start, end));
    *to = date_of(question_between(q, from->number,
                                   from->number + most < end ? from->number + most : end));
}

/* "Sunday, April 10" */
static void shown(const struct date *d, char out[64])
{
    (void)snprintf(out, 64, "%s, %s %d", weekday(d->number), MONTHS[d->month - 1], d->day);
}

static enum status make_count_days(struct question *q)
{
    struct date from;
    struct date to;
    char a[64];
    char b[64];
    draw_span(q, &from, &to);
    shown(&from, a);
    shown(&to, b);
    const int day = (int)question_between(q, 0, 6);
    const int64_t first = from.number + (day - from.number % 7 + 7) % 7;
    const int64_t count = first > to.number ? 0 : (to.number - first) / 7 + 1;
    switch (question_below(q, 3)) {
    case 0:
        TRY(question_set(&q->text, "How many %ss are there from %s, %" PRId64 " to %s, %" PRId64
                                   " (inclusive of both dates)?", DAYS[day], a, from.year, b,
                         from.year));
        break;
    case 1:
        TRY(question_set(&q->text, "Count the occurrences of %s from %s to %s, %" PRId64
                                   " (including both start and end dates).", DAYS[day], a, b,
                         from.year));
        break;
    default:
        TRY(question_set(&q->text, "Between %s, %" PRId64 " and %s, %" PRId64 " (counting both "
                                   "dates), how many times does %s occur?", a, from.year, b,
                         from.year, DAYS[day]));
        break;
    }
    TRY(question_set(&q->answer, "%" PRId64, count));
    TRY(question_note(q, "year", json_integer(from.year)));
    TRY(note_date(q, "start_date", &from));
    TRY(note_date(q, "end_date", &to));
    return ask_count(q);
}

static enum status make_business_days(struct question *q)
{
    struct date from;
    struct date to;
    char a[64];
    char b[64];
    int64_t count = 0;
    draw_span(q, &from, &to);
    shown(&from, a);
    shown(&to, b);
    for (int64_t n = from.number; n <= to.number; n++) {
        count += n % 7 < 5;
    }
    switch (question_below(q, 3)) {
    case 0:
        TRY(question_set(&q->text,
                         "How many business days (Monday-Friday) are there from %s, %" PRId64
                         " to %s, %" PRId64 " (inclusive of both dates)?",
                         a, from.year, b, from.year));
        break;
    case 1:
        TRY(question_set(&q->text, "Count the weekdays (excluding weekends) from %s to %s, %" PRId64
                                   " (including both start and end dates).", a, b, from.year));
        break;
    default:
        TRY(question_set(&q->text,
                         "Between %s, %" PRId64 " and %s, %" PRId64 " (counting both "
                         "dates), what's the total count of business days (Monday through "
                         "Friday)?",
                         a, from.year, b, from.year));
        break;
    }
    TRY(question_set(&q->answer, "%" PRId64, count));
    TRY(note_date(q, "start_date", &from));
    TRY(note_date(q, "end_date", &to));
    return ask_count(q);
}

static enum status make_leap_year(struct question *q)
{
    const int64_t half = (int64_t)question_value(q, "leap_year_range") / 2;
    const int64_t middle = (int64_t)question_value(q, "year");
    const int64_t year = question_between(q, middle > half ? middle - half : 1, middle + half);
    switch (question_below(q, 3)) {
    case 0:
        TRY(question_set(&q->text, "Determine if the year %" PRId64 " is a leap year.", year));
        break;
    case 1:
        TRY(question_set(&q->text, "Is %" PRId64 " a leap year?", year));
        break;
    default:
        TRY(question_set(&q->text, "Tell me whether %" PRId64 " is a leap year.", year));
        break;
    }
    TRY(question_add(&q->text, " Answer with Yes or No."));
    TRY(question_set(&q->answer, "%s", is_leap(year) ? "Yes" : "No"));
    TRY(question_note(q, "year", json_integer(year)));
    return question_note(q, "is_leap", json_boolean(is_leap(year)));
}

enum status question_calendar(struct question *q)
{
    static const struct {
        const char *name;
        enum status (*make)(struct question *q);
    } KINDS[] = { /* in the order of the key's words */
        {"weekday_offset", make_offset},
        {"weekday_of_date", make_weekday},
        {"weekday_of_date_from_first_date", make_from_first},
        {"recurring_event_day", make_recurring},
        {"count_days", make_count_days},
        {"count_business_days", make_business_days},
        {"is_leap_year", make_leap_year},
    };
    const unsigned bits = (unsigned)question_value(q, "tasks");
    uint64_t k = question_below(q, (uint64_t)__builtin_popcount(bits));
    int i = 0;
    for (; !(bits >> i & 1) || k > 0; i++) {
        k -= bits >> i & 1;
    }
    TRY(question_note(q, "task", json_string(KINDS[i].name)));
    TRY(KINDS[i].make(q));
    const json_int_t bound = (json_int_t)question_value(q, "offset_upper_bound");
    return json_object_set_new(q->difficulty, "offset_upper_bound", json_integer(bound)) == 0
               ? STATUS_OK
               : FAIL(MEMORY, "procedural: no memory for metadata");
}
