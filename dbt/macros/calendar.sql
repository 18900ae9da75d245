{#- The calendar spine: the first day and every `step` after it, up to today in Asia/Manila, or up
    to `last` where that is later. An array of dates, empty when the first is null or comes later. -#}
{% macro calendar(first, last=none, step='day') -%}
    {%- set today = manila_today() -%}
    {%- set until = today if last is none else 'greatest(' ~ last ~ ', ' ~ today ~ ')' -%}
    generate_date_array({{ first }}, {{ until }}, interval 1 {{ step }})
{%- endmacro %}


{#- The first day of a source that counts: `first_day` in the meta of its dbt source. A literal. -#}
{% macro first_day(source_name) -%}
    {%- if not execute -%}
        {{ return("date '0001-01-01'") }}
    {%- endif -%}
    {%- for node in graph.sources.values() if node.source_name == source_name -%}
        {%- if 'first_day' in node.meta -%}
            {{ return("date '" ~ node.meta.first_day ~ "'") }}
        {%- endif -%}
    {%- endfor -%}
    {{ exceptions.raise_compiler_error(
        'The dbt source ' ~ source_name ~ ' declares no first_day in its meta'
    ) }}
{%- endmacro %}


{#- Why a row of a source is not counted, by its day or its moment: 'beyond the calendar' before the
    source's first day and after today in Asia/Manila, or after the date `last`; else null, also
    without a time. -#}
{% macro beyond_calendar_day(source_name, day, last=none) -%}
    if(
            {{ day }} < {{ first_day(source_name) }} or {{ day }} > {{ last or manila_today() }},
            'beyond the calendar',
            null
        )
{%- endmacro %}


{% macro beyond_calendar(source_name, moment) -%}
    if(
            {{ moment }} < timestamp({{ first_day(source_name) }}, 'Asia/Manila')
            or {{ moment }}
                >= timestamp(date_add({{ manila_today() }}, interval 1 day), 'Asia/Manila'),
            'beyond the calendar',
            null
        )
{%- endmacro %}


{% macro end_of_next_year() -%}
    date(extract(year from {{ manila_today() }}) + 1, 12, 31)
{%- endmacro %}
