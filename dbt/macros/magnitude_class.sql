{#- The customary classes of the Richter scale, half-open at the top: 3.99 is minor, 4.0 is light.
    https://en.wikipedia.org/wiki/Richter_scale#Richter_magnitudes (read 2026-11) -#}
{% macro magnitude_class(magnitude) -%}
    case
        when {{ magnitude }} < 2 then 'micro'
        when {{ magnitude }} < 4 then 'minor'
        when {{ magnitude }} < 5 then 'light'
        when {{ magnitude }} < 6 then 'moderate'
        when {{ magnitude }} < 7 then 'strong'
        when {{ magnitude }} < 8 then 'major'
        when {{ magnitude }} >= 8 then 'great'
        else 'unknown'
    end
{%- endmacro %}
