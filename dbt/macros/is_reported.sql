{#- Whether OpenWeather sent rain or snow in a form that no column holds: `_extra` has it then, as a
    value of the object or as something else than an object. -#}
{% macro is_reported(fall) -%}
    coalesce(
                {%- for path in (fall, fall ~ '_1h', fall ~ '_3h') %}
                json_query(extra_json, '$.{{ path }}'){{ ',' if not loop.last }}
                {%- endfor %}
            ) is not null
{%- endmacro %}
