{#- The calendar spine: the first day and every `step` after it, up to today in Asia/Manila, or up
    to `last` where that is later. An array of dates, empty when the first is null or comes later. -#}
{% macro calendar(first, last=none, step='day') -%}
    {%- set today = manila_today() -%}
    {%- set until = today if last is none else 'greatest(' ~ last ~ ', ' ~ today ~ ')' -%}
    generate_date_array({{ first }}, {{ until }}, interval 1 {{ step }})
{%- endmacro %}
