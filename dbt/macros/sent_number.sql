{#- A number of a raw table, also where the source sent its digits as text: the column is then null,
    and `_extra` has the text under the column's name. -#}
{% macro sent_number(column, type='float64') -%}
    coalesce(
            {{ column }},
            safe_cast(
                regexp_extract(
                    json_query(_extra, '$.{{ column }}'),
                    r'^"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*"$'
                ) as {{ type }}
            )
        )
{%- endmacro %}
