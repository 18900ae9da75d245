{#- The average of a FLOAT64 column, to three decimals. Summed as NUMERIC, so that the order of the
    rows does not move the last digits and a full refresh gives what increments gave. -#}
{% macro exact_average(column) -%}
    cast(round(avg(cast({{ column }} as numeric)), 3) as float64)
{%- endmacro %}
